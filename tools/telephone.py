"""Where the demonstration's Asterisk is: the user's own, or one in a folder brought up for it."""

from __future__ import annotations

import json

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.errors import AriError, AriUnauthorized
from ai_engine.settings import AsteriskSettings
from tools.steps import PROJECT, StepError, command, output_of, progress


class Telephone:
    """Where Asterisk is, how the engine gets in and how a caller dials."""

    def __init__(self, variables: dict[str, str], sip_uri: str, *, ours: list[str] | None = None) -> None:
        self.variables = variables
        """ASTERISK_* of the engine's environment."""
        self.sip_uri = sip_uri
        self._ours = ours
        """The command line of tools/pbx, if this demonstration has started it."""

    @classmethod
    async def of_env(cls, asterisk: AsteriskSettings, environment: dict[str, str], sip_uri: str | None) -> Telephone:
        """The one that ASTERISK_HOST names. Raises `StepError` when it cannot be had."""
        progress(f"using the Asterisk at {asterisk.host} (ASTERISK_HOST); `tools/pbx snippets` prints what it needs")
        password = asterisk.password.get_secret_value()
        if not password:
            raise StepError("ASTERISK_HOST is set but ASTERISK_ARI_PASSWORD is not: add it to .env")
        async with AriClient(asterisk.base_url, asterisk.username, password, asterisk.app) as ari:
            try:
                await ari.ping()
            except AriUnauthorized as error:
                raise StepError(error.message) from None
            except AriError as error:
                raise StepError(
                    f"no ARI at {asterisk.base_url}: {error.message}. Correct ASTERISK_HOST and ASTERISK_ARI_PORT, or "
                    "take ASTERISK_HOST out of .env and have an Asterisk brought up in a folder"
                ) from None
        named = {name: value for name, value in environment.items() if name.startswith("ASTERISK_")}
        return cls(named, sip_uri or f"sip:700@{asterisk.host}:5060")

    @classmethod
    async def in_folder(cls, instance: str, sip_port: int, ari_port: int, bind: str | None) -> Telephone:
        """One of tools/pbx, started if it does not run and then ended by `close`. Raises `StepError`."""
        words = [str(PROJECT / "tools" / "pbx"), "--instance", instance]
        was_running = json.loads(await output_of(*words, "status", "--json") or "{}").get("running")
        words += ["--sip-port", str(sip_port), "--http-port", str(ari_port)]
        if bind:
            words += ["--bind", bind]
        ours = None if was_running else words
        try:
            await command(*words, "up")
            status = json.loads(await output_of(*words, "status", "--json"))
        except BaseException:
            if ours:  # interrupted: it may have come up already
                await output_of(*words, "down")
            raise
        variables = {
            "ASTERISK_HOST": "127.0.0.1",
            "ASTERISK_ARI_SCHEME": "http",
            "ASTERISK_ARI_PORT": str(status["http_port"]),
            "ASTERISK_ARI_USERNAME": status["ari_user"],
            "ASTERISK_ARI_PASSWORD": await output_of("cat", status["ari_password_file"]),
            "ASTERISK_ARI_APP": status["ari_app"],
        }
        return cls(variables, f"sip:700@127.0.0.1:{status['sip_port']}", ours=ours)

    async def close(self) -> None:
        if self._ours:
            await command(*self._ours, "down")
