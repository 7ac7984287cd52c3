"""The failure vocabulary: words by which people and programs say that something is wrong.

In: a template's text. Out: those of its words that stand in the vocabulary, sorted. They decide whether a burst counts
as a failure's (docs/MATH.md), and they are all a language model ever sees of a text: a word that is not here is not
shown, so nobody who writes log lines can speak to it.

The list is shipped and versioned: a changed list is a changed answer. Only words that seldom stand in healthy lines are
in it (no "close", "stop", "retry" alone, "unknown": they are daily work).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["FAILURE_WORDS", "VOCABULARY_VERSION", "failure_words", "has_failure_words"]

VOCABULARY_VERSION: Final = 1

_WORDS = """
abend abended abnormal abnormally abort aborted aborting abortive aborts anomalous anomaly assertion asserts backlog
backpressure bad blackhole blocked bottleneck bounced breach breached broken brownout bugcheck cannot cant
catastrophic conflict congested congestion contention corrupt corrupted corrupting corruption corrupts couldnt crash
crashed crashes crashing crashloop crashloopbackoff critical damaged dangling dead deadline deadlock deadlocked
deadlocking deadlocks defunct degradation degraded degrading denied denies deny deprived desync desynchronized
deteriorated died dies disappeared disconnect disconnected disconnecting disconnection disconnects disrupted
disruption diverged divergence down downtime dropped dumped dying econnaborted econnrefused econnreset ehostunreach
eio emerg emergency emfile enetunreach enfile enoent enomem enospc epipe err errno erroneous erroneously error errored
errors etimedout evicted evicting eviction exceed exceeded exceeding exceeds exception exceptions exhaust exhausted
exhausting exhaustion exhausts expired fail failed failing failover fails failure failures fatal fatally fault faulted
faults faulty fenced flapped flapping forbidden forcibly frozen full garbled glitch halt halted halting hang hanging
hangs hung illegal impossible inaccessible incompatible incomplete inconsistent incorrect infected insufficient
interrupted interruption intolerable intrusion invalid irrecoverable jammed kill killed killing kills lag lagged
lagging lags leak leaked leaking leaks livelock lockout loss lossy lost malformed malfunction malicious
misconfiguration misconfigured mismatch mismatched missing nack nonexistent notfound notresponding nullpointer
nullpointerexception offline oom oomkilled oops orphan orphaned outage outages outofmemory outofmemoryerror
overcommitted overcurrent overflow overflowed overflowing overheat overheated overheating overload overloaded
overloading overrun oversubscribed panic panicked panicking panics paralyzed partitioned poison poisoned preempted
prohibited quarantine quarantined quarantining refuse refused refuses refusing reject rejected rejecting rejection
rejections rejects rollback rolledback saturated saturating saturation segfault segfaults segv severe shortage sigabrt
sigbus sigill sigkill sigsegv skewed slow slowdown slowed slowing splitbrain stale stall stalled stalling stalls
starvation starved starving stuck suspect suspended suspicious tampered terminated thrash thrashing throttle throttled
throttles throttling timedout timeout timeouts traceback tripped truncated unable unacceptable unauthenticated
unauthorised unauthorized unavailability unavailable unbalanced uncaught unclean uncorrectable undefined undeliverable
underflow underrun unexpected unexpectedly unhandled unhealthy unmounted unplugged unreachable unreadable unrecognised
unrecognized unrecoverable unrecovered unreliable unresolvable unresolved unresponsive unsafe unstable unsuccessful
unsuccessfully unsupported unusable unwilling unwritable vanished victim violate violated violates violating violation
violations vulnerable watchdog wedged wrong zombie zombies
"""
FAILURE_WORDS: Final = frozenset(_WORDS.split())

# "OutOfMemoryError" is itself and its four parts, "HTTPError" itself and two.
_WORD = re.compile(r"(?<![A-Za-z])(?=([A-Za-z]+))|([A-Z]+(?=[A-Z][a-z]{2})|[A-Z]?[a-z]+|[A-Z]+)")
# "no error", "without errors", "errors: 0" in its template form "errors: <*>" are counters or denials, not failures.
_DENIED = re.compile(
    r"\b(?:no|zero|without|0)\s+\w+|\b(?:errors?|failures?|exceptions?|drops?|dropped|lost|rejects)\s*[=:]\s*<\*>",
    re.ASCII | re.IGNORECASE,
)
_APOSTROPHE = re.compile(r"(?<=[A-Za-z])['’](?=[A-Za-z])")


def failure_words(text: str) -> tuple[str, ...]:
    """The failure words of a template's text, each once, sorted."""
    plain = _DENIED.sub(" ", _APOSTROPHE.sub("", text))
    words = {(whole or part).lower() for whole, part in _WORD.findall(plain)}
    return tuple(sorted(words & FAILURE_WORDS))


def has_failure_words(text: str) -> bool:
    """Whether the text holds any failure word."""
    return bool(failure_words(text))
