"""Exec plugins: programs that print credentials. Source: Kubernetes `client.authentication.k8s.io`, KEP-541.

The package `kubernetes` runs them. It is imported when there is one: that takes a third of a second and 18 MiB, which
an agent in a Pod does without.
"""

# mypy: allow-untyped-calls
# (the package's configuration has no types)

import asyncio

import msgspec

from nftsvc.sources.cluster.faults import Fault, without_secrets
from nftsvc.sources.cluster.kubeconfig import ExecEntry

PLUGIN_SECONDS = 60.0


class Issued(msgspec.Struct, frozen=True, rename="camel"):
    """`status` of an ExecCredential: a token, or a certificate and its key as PEM."""

    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: str | None = None


class Plugin:
    """Runs an exec plugin; while one hangs no other is started."""

    def __init__(self) -> None:
        self._running: asyncio.Task[object] | None = None

    async def run(self, entry: ExecEntry) -> Issued:
        """Return what the plugin prints; Fault if it gives no credentials."""
        from kubernetes.aio.config import ConfigException  # noqa: PLC0415 - heavy: see above

        if self._running is None:
            self._running = asyncio.create_task(_run(entry))
        running = self._running
        try:
            async with asyncio.timeout(PLUGIN_SECONDS):
                issued = msgspec.convert(await asyncio.shield(running), Issued)
        except TimeoutError:
            raise Fault(f"exec plugin {entry.command} gives no answer for {PLUGIN_SECONDS:.0f} s") from None
        except OSError as error:
            raise Fault(f"exec plugin {entry.command} cannot be run: {error.strerror}") from None
        except ConfigException as error:
            raise Fault(f"exec plugin {entry.command} fails: {without_secrets(str(error))}") from None
        except msgspec.ValidationError:
            issued = Issued()
        finally:
            self._running = None if running.done() else running
        if not (issued.token or issued.client_certificate_data):
            raise Fault(f"exec plugin {entry.command} prints neither a token nor a client certificate")
        return issued


async def _run(entry: ExecEntry) -> object:
    from kubernetes.aio.config.exec_provider import ExecProvider  # noqa: PLC0415
    from kubernetes.aio.config.kube_config import ConfigNode  # noqa: PLC0415

    plain: dict[str, object] = {
        "command": entry.command,
        "apiVersion": entry.api_version,
        "args": list(entry.args or ()),
        "env": [{"name": one.name, "value": one.value} for one in entry.env or ()],
    }
    return await ExecProvider(ConfigNode("exec", plain)).run()
