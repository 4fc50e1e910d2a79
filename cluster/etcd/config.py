"""How etcd is reached, where the cluster's topology lives in it."""

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from sherd.common.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """Where etcd is, and as whom. Without ``endpoints`` no etcd is used. No file is read here."""

    FLAG_PREFIX: ClassVar[str] = "etcd-"

    endpoints: tuple[str, ...] = ()
    """The members of etcd, with commas between: ``http://HOST:PORT`` or ``https://HOST:PORT``. Whichever answers is
    asked; the others are tried when it does not."""
    prefix: str = "sherd"
    """What the cluster's keys in etcd begin with, before a slash. No two clusters may have the same."""
    ca: str = ""
    """File with the certificates that etcd's own is verified by; the system's if empty. With ``https`` only."""
    cert: str = ""
    """File with the client certificate shown to etcd."""
    key: str = ""
    """File with the private key of ``cert``."""
    user: str = ""
    """Who to log in as, where etcd has authentication enabled."""
    password_file: str = ""
    """File with that user's password; read at every login. A newline at its end does not count."""
    lease_seconds: int = 5
    """How long a leader, or a coordinator, that is not heard of keeps others from taking its place. etcd grants no less
    than about twice its election timeout. The same for all processes of a cluster."""
    request_seconds: float = 1.5
    """How long a request to etcd may take in all, other members' attempts included. Should be well under a lease."""
    silence_seconds: float = 10.0
    """When etcd has reported no change for so long, it is asked anew, which tells whether it is still there."""

    def __post_init__(self) -> None:
        for endpoint in self.endpoints:
            _check_endpoint(endpoint)
        schemes = {endpoint.partition(":")[0] for endpoint in self.endpoints}
        if len(schemes) > 1:
            raise ConfigError("etcd's endpoints must all be http or all be https")
        if (self.ca or self.cert or self.key) and "http" in schemes:
            raise ConfigError("certificates for etcd have no meaning with http endpoints; write https://HOST:PORT")
        if bool(self.cert) != bool(self.key):
            raise ConfigError("etcd's cert and key are needed together")
        if bool(self.user) != bool(self.password_file):
            raise ConfigError("etcd's user and password_file are needed together")
        if not self.prefix or self.prefix.endswith("/") or not self.prefix.isprintable():
            raise ConfigError(f"etcd's prefix must be printable, and end with no slash: {self.prefix!r}")
        if self.lease_seconds < 2:
            raise ConfigError(f"etcd's lease_seconds must be 2 or more, not {self.lease_seconds}")
        for name in ("request_seconds", "silence_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"etcd's {name} must be over 0, not {getattr(self, name)}")


def _check_endpoint(endpoint: str) -> None:
    """ConfigError, which does not repeat an endpoint that may hold a password."""
    if "@" in endpoint:
        raise ConfigError("an etcd endpoint holds no user or password; use the settings user and password_file")
    try:
        parts = urlsplit(endpoint)
        whole = bool(parts.hostname and parts.port)
    except ValueError as error:
        raise ConfigError(f"etcd endpoint {endpoint!r}: {error}") from error
    if not whole or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(f"an etcd endpoint is http://HOST:PORT or https://HOST:PORT, not {endpoint!r}")
