"""What a session's query names, worked out where nothing waits for it."""

from rtsep.bundle import Bundle
from rtsep.errors import BundleError
from rtsep.live.session import Session
from rtsep.query.examples import find_example
from rtsep.query.model import LIVE, Embedder, find_query_model


def live_query_model(session: Session) -> Bundle:
    """The model that hears a session's query.

    Raises
    ------
    BundleError
        It cannot be loaded, or is none for live use.
    """
    bundle = find_query_model(session.query_model or LIVE)
    if bundle.manifest.domain != "mask":
        raise BundleError(f"bundle {bundle.name}, a query model for files", "one for live use")
    return bundle


def session_query(session: Session) -> tuple[float, ...]:
    """The vector of a session's query; empty where it has none.

    Raises
    ------
    AudioError
        No such clip or name, or one that names no instrument.
    BundleError
        As of `live_query_model`.
    """
    if session.query is None:
        return ()
    embedder = Embedder(live_query_model(session), device="cpu")
    vector = find_example(session.query).vector(embedder)
    return tuple(float(value) for value in vector)
