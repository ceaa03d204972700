"""What taggers call things, and which of their tags mean an instrument.

The lists are in the order of the outputs of the published taggers: MagnaTagATune, MTG-Jamendo
(alphabetical), Million Song Dataset.
"""

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rtsep.errors import RtsepError


def _listed(text: str) -> list[str]:
    return text.split(",")


MTAT = _listed(
    "guitar,classical,slow,techno,strings,drums,electronic,rock,fast,piano,ambient,beat,violin,"
    "vocal,synth,female,indian,opera,male,singing,vocals,no vocals,harpsichord,loud,quiet,flute,"
    "woman,male vocal,no vocal,pop,soft,sitar,solo,man,classic,choir,voice,new age,dance,"
    "male voice,female vocal,beats,harp,cello,no voice,weird,country,metal,female voice,choral"
)
_GENRES = (
    "alternative,ambient,atmospheric,chillout,classical,dance,downtempo,easylistening,electronic,"
    "experimental,folk,funk,hiphop,house,indie,instrumentalpop,jazz,lounge,metal,newage,"
    "orchestral,pop,popfolk,poprock,reggae,rock,soundtrack,techno,trance,triphop,world"
)
_PLAYED = (
    "acousticguitar,bass,computer,drummachine,drums,electricguitar,electricpiano,guitar,keyboard,"
    "piano,strings,synthesizer,violin,voice"
)
_MOODS = "emotional,energetic,film,happy,relaxing"
JAMENDO = [
    *(f"genre---{name}" for name in _listed(_GENRES)),
    *(f"instrument---{name}" for name in _listed(_PLAYED)),
    *(f"mood/theme---{name}" for name in _listed(_MOODS)),
]
MSD = _listed(
    "rock,pop,alternative,indie,electronic,female vocalists,dance,00s,alternative rock,jazz,"
    "beautiful,metal,chillout,male vocalists,classic rock,soul,indie rock,Mellow,electronica,80s,"
    "folk,90s,chill,instrumental,punk,oldies,blues,hard rock,ambient,acoustic,experimental,"
    "female vocalist,guitar,Hip-Hop,70s,party,country,easy listening,sexy,catchy,funk,electro,"
    "heavy metal,Progressive rock,60s,rnb,indie pop,sad,House,happy"
)
TAG_LISTS = {"mtat": MTAT, "jamendo": JAMENDO, "msd": MSD}

# Many tags to one instrument, by the list that has them.
INSTRUMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "mtat": {
        "guitar": ("guitar",),
        "drums": ("drums", "beat", "beats"),
        "piano": ("piano",),
        "strings": ("strings", "violin", "cello"),
        "flute": ("flute",),
        "synth": ("synth",),
        "vocals": (
            *("vocal", "female", "male", "singing", "vocals", "woman", "male vocal", "man"),
            *("choir", "voice", "male voice", "female vocal", "female voice", "choral"),
        ),
    },
    "jamendo": {
        name: tuple(f"instrument---{tag}" for tag in tags)
        for name, tags in {
            "bass": ("bass",),
            "guitar": ("guitar", "acousticguitar", "electricguitar"),
            "drums": ("drums", "drummachine"),
            "piano": ("piano", "electricpiano"),
            "strings": ("strings", "violin"),
            "synth": ("synthesizer",),
            "vocals": ("voice",),
        }.items()
    },
    "msd": {
        "guitar": ("guitar",),
        "vocals": ("female vocalists", "male vocalists", "female vocalist"),
    },
}
# Of any other tagger, as far as it has the tags: what a musician calls otherwise.
ELSE = {"vocals": ("voice",)}


def target(
    names: Sequence[str], tags: Sequence[str], instruments: Mapping[str, tuple[str, ...]]
) -> Tensor:
    """What a tagger is to hear: 1 for what is named and 0 for all else, ``[tags]``.

    Parameters
    ----------
    names : sequence of str
        Instruments, or the tagger's own tags.

    Raises
    ------
    RtsepError
        A name that is neither; the nearest ones are told.
    """
    found = torch.zeros(len(tags))
    for name in names:
        meant = instruments.get(name, (name,) if name in tags else ())
        if not meant:
            known = [*instruments, *(tag for tag in tags if tag not in instruments)]
            near = difflib.get_close_matches(name, known, 3, 0.5)
            nearest = f"; the nearest: {', '.join(near)}" if near else ""
            raise RtsepError(f"tag {name}", f"one of {', '.join(known)}{nearest}")
        for tag in meant:
            found[list(tags).index(tag)] = 1.0
    return found
