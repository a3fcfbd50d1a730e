"""The event stream's settings."""

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cryptowatch.settings.sections import Seconds, Section

_SERVER = r"(nats|tls)://[A-Za-z0-9.\-\[\]:]+:[0-9]{1,5}"
_TOKEN = r"[A-Za-z0-9_-]+"  # noqa: S105 - of a subject


class Stream(Section):
    """Every event to NATS JetStream. Off without a `url`."""

    #: Servers of one cluster, separated by commas. Holds no password: that is what `credentials_file` is for.
    url: Annotated[str, Field(pattern=rf"^{_SERVER}(,{_SERVER})*$")] | None = None
    credentials_file: Path | None = None
    ca_file: Path | None = None
    name: Annotated[str, Field(pattern=rf"^{_TOKEN}$", max_length=100)] = "cryptowatch"
    subject_prefix: Annotated[str, Field(pattern=rf"^{_TOKEN}(\.{_TOKEN})*$", max_length=100)] = (
        "cryptowatch.events"
    )
    replicas: Annotated[int, Field(ge=1, le=5)] = 1
    max_age_days: Annotated[int, Field(gt=0, le=3650)] = 30
    batch: Annotated[int, Field(gt=0, le=5000)] = 500
    timeout_s: Seconds = 5
    poll_interval_s: Seconds = 0.1

    @property
    def credentials(self) -> str | None:
        return None if self.credentials_file is None else str(self.credentials_file)

    def tls(self) -> ssl.SSLContext | None:
        """None: the library's default for the scheme, which checks certificates against the machine's own."""
        return None if self.ca_file is None else ssl.create_default_context(cafile=self.ca_file)
