"""Where a delivery may go: only to public addresses, unless the settings allow private ones.

The URL is the platform's to choose, but the request comes from inside the operator's network: without this
guard a key with the right scope could call the cloud's metadata service or a node's RPC port (SSRF). Looking
at the URL is not enough, since a name can resolve to anything at any time. So the address is checked where
the socket for it is made: what was checked is what is connected to, for names and literal addresses alike.
Redirects are never followed. Called by webhooks (when a URL is set, and at each
attempt) and by compliance.
"""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp.connector import AddrInfoType
from yarl import URL

URL_LENGTH_MAX = 2000
#: Addresses of IPv6 that carry one of IPv4 inside: a gateway would take us there.
_CARRIERS = (
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("2002::/16"),
    ipaddress.IPv6Network("2001::/32"),
)


class ForbiddenTarget(OSError):
    """This address must not be called. An OSError, as the client expects of a socket that cannot be made."""


@dataclass(frozen=True, slots=True)
class InvalidUrl:
    """Why a text is not a URL to which deliveries may go."""

    reason: str


def check_url(url: str, *, allow_private: bool) -> InvalidUrl | None:
    """What can be said without resolving. Plain http only where private addresses are allowed too.

    Reads the URL with the same parser as the client that will use it, so that both see the same host.
    """
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        return InvalidUrl("a URL is printable ASCII of at most 2000 characters")
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError:
        return InvalidUrl("this is not a URL")
    if parsed.scheme not in (("https", "http") if allow_private else ("https",)):
        return InvalidUrl("a URL begins with https://")
    if not host or not port:
        return InvalidUrl("the URL names no host")
    if parsed.user is not None or parsed.password is not None or parsed.fragment:
        return InvalidUrl("a URL holds no credentials and no fragment")
    if not allow_private and _is_address(host) and not is_public(host):
        return InvalidUrl("the address is not public")
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public(host: str) -> bool:
    """Whether a literal address belongs to a host on the public internet. Anything unclear is not."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address.scope_id is not None or any(address in network for network in _CARRIERS):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def guarded_sockets(*, allow_private: bool) -> Callable[[AddrInfoType], socket.socket]:
    """Makes the sockets of the client that delivers; raises ForbiddenTarget instead where one must not go."""

    def make_socket(target: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = target
        if not allow_private and not is_public(str(address[0])):
            raise ForbiddenTarget("the address is not public")
        return socket.socket(family, kind, protocol)

    return make_socket
