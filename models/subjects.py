"""The subject vocabulary: what in a system can fail, as single words.

In: a template's text. Out: those of its words that name a part or a resource, sorted. With the failure words
(models.vocabulary) they are all that a predictor sees of a text: "exhausted" alone does not say what is. Everyday
nouns of computing only: no verb and no adjective, so that no sentence can be made of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

__all__ = ["SUBJECTS_VERSION", "SUBJECT_WORDS", "subject_words"]

SUBJECTS_VERSION: Final = 1

_WORDS = """
account address alarm alias api application authentication authorization balancer bandwidth block broker bucket
buffer cache certificate channel checkpoint checksum client cluster config configuration connection connections
consumer container controller coordinator cpu credential credentials cursor data database datanode datasource
deployment descriptor descriptors device disk disks dns driver endpoint ethernet executor fan file files filesystem
firmware function gateway handle handles handler heap host image index inode instance instances interface iops
journal kernel key lambda latency leader lease license link load lock locks log login machine memory message
metadata module mount namenode network node nodes offset packet page parity partition password path payload peer
permission permissions pid pod pool pools port power process processes producer proxy query queue quorum quota
rds rack raid region registry release replica replicas replication repository request requests resolver resource
response role route router rpc schema sector server service session sessions shard signature slot snapshot socket
sockets ssh ssl stack state storage stream subnet swap table target task tasks temperature tenant thread threads
tls token topic traffic transaction transactions tunnel version vm volume worker workers writer zone
"""
SUBJECT_WORDS: Final = frozenset(_WORDS.split())

# The same words as models.vocabulary finds: "DataNode" is two, "HTTPError" two.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z]{2})|[A-Z]?[a-z]+|[A-Z]+")


def subject_words(text: str, extra: Collection[str] = ()) -> tuple[str, ...]:
    """The subject words of a text (and those of `extra`, the operator's own), each once, sorted."""
    found = {word.lower() for word in _WORD.findall(text)}
    return tuple(sorted(word for word in found if word in SUBJECT_WORDS or word in extra))
