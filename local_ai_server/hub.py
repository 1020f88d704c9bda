"""The model hub: where its files are and who asks for them. HF_ENDPOINT and HUGGINGFACE_ACCESS_TOKEN set both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dotenv import dotenv_values
from pydantic import SecretStr

from local_ai_server.catalog import CatalogModel, RemoteFile
from local_ai_server.download_http import TOKEN_VARIABLE

ENDPOINT_VARIABLE: Final = "HF_ENDPOINT"
_ENDPOINT: Final = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class ModelHub:
    """The token is sent to the endpoint and to no other host, redirects included."""

    endpoint: str = _ENDPOINT
    token: SecretStr | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, file: Path = Path(".env")) -> ModelHub:
        """The process's environment wins over `file`."""
        values = {**dotenv_values(file), **environment}
        token = values.get(TOKEN_VARIABLE)
        endpoint = values.get(ENDPOINT_VARIABLE) or _ENDPOINT
        return cls(endpoint.rstrip("/"), SecretStr(token.strip()) if token and token.strip() else None)

    def locate(self, model: CatalogModel, file: RemoteFile) -> tuple[str, SecretStr | None]:
        """The file's address, and the token where it may be shown there."""
        if file.url is not None:
            return file.url, None
        if model.hub is None:
            raise ValueError(f"{model.name}: {file.name} has neither url nor hub")
        revision = quote(model.hub.revision or "main", safe="")
        path = quote(file.source or file.name)
        return f"{self.endpoint}/{model.hub.repo}/resolve/{revision}/{path}", self.token
