"""Other people's model servers (llama-server, vLLM, TensorRT-LLM), started and watched by a worker of ours."""
