"""What a model's worker raises reaches the client as a code that says what to do."""

import pytest
from fake_services import FakeLink

from local_ai_server.backends.backend import Plan
from local_ai_server.backends.llm import errors
from local_ai_server.backends.llm.llama_cpp import LlamaError
from local_ai_server.backends.options import BackendOptions
from local_ai_server.backends.registry import backend
from local_ai_server.errors import ServeError
from local_ai_server.service import Place, Service
from model_worker.errors import CallFailed
from model_worker.spec import Priority

TOLD = {
    errors.LlmUnavailable: ("llm_unavailable", True),
    errors.LlmMisconfigured: ("llm_unavailable", False),
    errors.LlmBusy: ("server_at_capacity", True),
    errors.LlmTimeout: ("timeout", True),
    errors.LlmRefused: ("invalid_message", False),
    LlamaError: ("worker_failed", True),
}


def test_no_kind_of_failure_is_forgotten():
    assert set(TOLD) == set(errors.LlmError.__subclasses__())


@pytest.mark.parametrize("kind", TOLD)
async def test_each_failure_has_its_code(kind):
    link = FakeLink(lambda method, args, body: ([], {}))
    link.error = CallFailed(kind.__name__, "in its own words")
    service = Service(backend("llm", "llama_cpp"), link, options=BackendOptions(), plan=Plan(load={}), max_waiting=1)
    with pytest.raises(ServeError, match="in its own words") as told:
        async with service.call("generate", {}, place=Place(Priority.FINAL)) as answers:
            await answers.finish()
    assert (told.value.code, told.value.retryable) == TOLD[kind]
