"""An SMTP server on a real socket: records messages, or refuses them as configured."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from app.dev.instance import free_port

OK = "250 Message accepted"
TEMPORARY = "451 Try again later"
PERMANENT = "550 No such user here"


@dataclass(frozen=True)
class Received:
    """One delivered message with its envelope."""

    sender: str
    recipients: list[str]
    message: EmailMessage


class MailServer:
    """Accepts everything, unless answers were scripted."""

    def __init__(self) -> None:
        """Listens on a free port of 127.0.0.1."""
        self.received: list[Received] = []
        self._on_data: deque[str] = deque()
        self._on_recipient: deque[str] = deque()
        self.port = free_port()  # aiosmtpd wants to know it beforehand
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()
        self.url = f"smtp://127.0.0.1:{self.port}"

    def refuse(self, *answers: str) -> None:
        """The next messages are answered so after DATA, one answer each."""
        self._on_data.extend(answers)

    def refuse_recipients(self, *answers: str) -> None:
        """The next RCPT commands are answered so, one answer each."""
        self._on_recipient.extend(answers)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Called by aiosmtpd for each recipient."""
        if self._on_recipient:
            return self._on_recipient.popleft()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Called by aiosmtpd with the whole message."""
        if self._on_data:
            return self._on_data.popleft()
        message = message_from_bytes(bytes(envelope.content or b""), policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.received.append(Received(str(envelope.mail_from), list(envelope.rcpt_tos), message))
        return OK

    def close(self) -> None:
        """Stops listening."""
        self._controller.stop()
