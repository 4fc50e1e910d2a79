"""Who etcd takes us for: a token, fetched with user and password when one is needed."""

import asyncio

from sherd.cluster.etcd.api import EtcdRefused
from sherd.cluster.etcd.config import EtcdConfig
from sherd.cluster.etcd.members import Members
from sherd.cluster.etcd.messages import AUTHENTICATE, token_of


class Login:
    """The token of one user; an empty one where nobody is named. No message holds the password or a token."""

    def __init__(self, members: Members, config: EtcdConfig) -> None:
        self._members = members
        self._user = config.user
        self._password_file = config.password_file
        self._token = ""
        self._fetching = asyncio.Lock()

    async def token(self, refused: str = "") -> str:
        """A token other than the one that was ``refused``. Raises as ``Members.ask``, or EtcdRefused."""
        if not self._user:
            return ""
        async with self._fetching:
            if self._token in ("", refused):
                body = {"name": self._user, "password": self._password()}
                self._token = token_of(await self._members.ask(AUTHENTICATE, body, ""))
            return self._token

    def _password(self) -> str:
        try:
            with open(self._password_file, encoding="utf-8") as file:
                return file.read().removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise EtcdRefused(f"etcd's password file {self._password_file}: {reason}") from None
