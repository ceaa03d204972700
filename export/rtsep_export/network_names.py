"""Names of what ``rtsep-export`` trains and of what it learns from; light, for the command line."""

from enum import StrEnum


class NetworkName(StrEnum):
    """What can be trained."""

    separator = "separator"
    offline = "offline"
    transcriber = "transcriber"
    query_live = "query-live"
    several = "several"
    autoencoder = "autoencoder"
    tagger = "tagger"


class Supervision(StrEnum):
    """What the separator learns from."""

    stems = "stems"
    scores = "scores"
    both = "both"
