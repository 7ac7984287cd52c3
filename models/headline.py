"""An incident in one line, for people.

`checkout: "connection pool exhausted" 45 in the last minute, expected 4.2, 5.1σ`

In: an Incident. Out: text without control characters, at most 200 characters. Template texts are redacted already.
"""

from __future__ import annotations

import unicodedata

from models.anomaly import Kind
from models.incident import Incident, IncidentEvent, IncidentSignal
from models.series import OVERFLOW_ID

__all__ = ["escape", "headline", "span"]

_LONGEST = 200
_TEXT = 100


def headline(incident: Incident) -> str:
    """What opened it if that is a failed resource, else the signal that speaks most for a failure: a silent service,
    then the template that has been furthest off, then a total, which says where but not what.
    """
    failures = [event for event in incident.events if not event.expected]
    if failures and (not incident.signals or incident.primary == failures[0].detail_type):
        return _cut(_event_line(incident.application, failures[0]), _LONGEST)
    if not incident.signals:
        return _cut(f"{escape(incident.application)}: {escape(incident.primary)}", _LONGEST)
    return _cut(_signal_line(max(incident.signals, key=_weight)), _LONGEST)


def escape(text: str) -> str:
    """The text with every control, format or separator character as a blank: no terminal obeys it, no line breaks.

    Unicode categories Cc, Cf, Cs, Zl, Zp (escape sequences, bidirectional overrides, line separators).
    """
    shown = (" " if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else char for char in text)
    return " ".join("".join(shown).split())


def span(minutes: float) -> str:
    """How long a signal was counted, in words."""
    if minutes == 1:
        return "the last minute"
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{minutes * 60:.0f} s"


def _weight(signal: IncidentSignal) -> tuple[int, float, bool]:
    """How much a signal tells of a failure: what it is about, how far it has been off (the peak: a signal that is clear
    has about 0σ now, and the prediction still rests on what it was), whether it is open.
    """
    if signal.kind == Kind.SERVICE_SILENT:
        about = 3
    elif signal.kind == Kind.SOURCE_STALLED:
        about = 0
    else:
        about = 1 if signal.template_id in ("", OVERFLOW_ID) else 2
    return about, _peak(signal), signal.cleared_at == 0


def _peak(signal: IncidentSignal) -> float:
    return max(signal.sigma, signal.peak_sigma)


def _event_line(application: str, event: IncidentEvent) -> str:
    state = event.detail.get("state")
    what = f" ({escape(state)})" if isinstance(state, str) and state else ""
    return f"{escape(application)}: {escape(event.detail_type)}{what} on {escape(event.resource)}"


def _signal_line(signal: IncidentSignal) -> str:
    service = escape(signal.service)
    if signal.kind == Kind.SERVICE_SILENT:
        if signal.cleared_at:
            return f"{service}: was silent, gives lines again"
        return f"{service}: silent, {signal.expected:.3g} lines expected, {signal.sigma:.1f}σ"
    if signal.kind == Kind.SOURCE_STALLED:
        return f"{service}: a log source has stalled"
    what = f'"{_cut(escape(signal.text), _TEXT)}"' if signal.template_id else escape(signal.text) or "all lines"
    new = "never seen before, " if signal.kind == Kind.NOVELTY else ""
    figures = f"{signal.observed:g} in {span(signal.window_minutes)}"
    if not new:
        sigma = f"clear after {_peak(signal):.1f}σ" if signal.cleared_at else f"{signal.sigma:.1f}σ"
        figures += f", expected {signal.expected:.1f}, {sigma}"
    return f"{service}: {what} {new}{figures}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
