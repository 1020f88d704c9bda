"""Stands for PyTorch in a worker's path: only what `kokoro_torch` and `melotts_model` call of it themselves."""

threads = 0


def set_num_threads(n):
    global threads  # noqa: PLW0603
    threads = n


class cuda:
    @staticmethod
    def is_available():
        return False
