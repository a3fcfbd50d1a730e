"""The errors that cross a module's border.

    CryptowatchError
      SettingsError          wrong or missing setting; names its key; exit code 2
      OperatorError          a command cannot do what was asked; one clear line; exit code 1
      Temporary              will pass by itself: a loop waits and tries again, nothing else is retried
        NodeUnavailable      a node did not answer, answered late, or answered with an internal error
        NoQuorum             fewer nodes agree than the chain's `quorum` asks for
        DatabaseUnavailable  Postgres is away; the outcome of what was under way is unknown
        SignerUnavailable    the signer process is away
        StreamUnavailable    the event stream is away, or holds what the log did not tell it
      NodeRejected           a node understood the call and refused it
      NodeLied               a node's answer contradicts the hash that it was asked for
      SignerRefused          the signer's own policy says no
        SignerWaits          not now, for its hourly limit: nothing is wrong with the transaction
      ConcurrentUpdate       another writer was first; the transaction was rolled back and can run anew

Expected outcomes (not enough money, an address of another network) are values, not errors.
"""


class CryptowatchError(Exception):
    """Root of the tree above."""


class SettingsError(CryptowatchError):
    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"setting {key}: {problem}")
        self.key = key


class OperatorError(CryptowatchError):
    pass


class Temporary(CryptowatchError):
    pass


class NodeUnavailable(Temporary):
    def __init__(self, node: str, problem: str) -> None:
        super().__init__(f"node {node}: {problem}")
        self.node = node


class NoQuorum(Temporary):
    pass


class DatabaseUnavailable(Temporary):
    pass


class SignerUnavailable(Temporary):
    pass


class StreamUnavailable(Temporary):
    pass


class NodeRejected(CryptowatchError):
    def __init__(self, node: str, code: int, message: str) -> None:
        super().__init__(f"node {node}: {message} ({code})")
        self.node = node
        self.code = code
        self.message = message


class NodeLied(CryptowatchError):
    def __init__(self, node: str, problem: str) -> None:
        super().__init__(f"node {node}: {problem}")
        self.node = node


class SignerRefused(CryptowatchError):
    pass


class SignerWaits(SignerRefused):
    pass


class ConcurrentUpdate(CryptowatchError):
    pass
