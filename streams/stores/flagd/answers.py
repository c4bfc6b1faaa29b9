"""
What OFREP answers about flags: flagd's own evaluation in Python, and its results and errors in the protocol's words.

`openfeature-flagd-core` puts users into the splits of ``fractional`` as the flagd providers of the third generation do
(Python from 0.6, Rust from 0.3): ``murmur3`` of the key in CBOR. Each flag has an evaluator of its own, made when
somebody first asks and again only when that flag changes: a kill among 10,000 flags costs one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, cast

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import GeneralError, OpenFeatureError, ParseError
from openfeature.flag_evaluation import FlagResolutionDetails

from guardian.errors import shown
from guardian.flagdoc import COMMAND, WRITTEN, Document, Flag, Json, inlined

Answer = dict[str, Any]
"""An ``evaluationSuccess`` or ``evaluationFailure`` of the protocol."""

_REASONS = {"STATIC": "STATIC", "TARGETING_MATCH": "TARGETING_MATCH", "DISABLED": "DISABLED"}
"""The protocol knows no DEFAULT; clients that were generated from it refuse what it does not know."""
_PRIVATE = (COMMAND, WRITTEN)
_DETAILS_MAX = 200


def quieten() -> None:
    """
    Keep the evaluation from logging, for the whole process.

    It logs every context that a rule cannot be applied to, with what is in it, and whoever may ask could fill the log.
    """
    logging.getLogger("openfeature.contrib").setLevel(logging.CRITICAL + 1)


def failure(key: str, code: str, details: str) -> Answer:
    """An ``evaluationFailure``; of a whole request where *key* is empty."""
    named = {"key": key} if key else {}
    return {**named, "errorCode": code, "errorDetails": details[:_DETAILS_MAX]}


class Evaluator:
    """Answers for the flags of one document after another."""

    def __init__(self) -> None:
        self._flags: Mapping[str, Flag] = {}
        self._compiled: dict[str, _Compiled] = {}

    def answer(self, document: Document, key: str, context: Mapping[str, Any]) -> Answer:
        """
        The flag *key* of *document*, for who is described by *context*; whatever is in that, an answer.

        A user without ``targetingKey`` is in no split: hashed all the same they would all land on one side.
        """
        flags = document["flags"]
        if flags is not self._flags:
            self._flags = flags
            self._compiled = {name: one for name, one in self._compiled.items() if flags.get(name) is one.flag}
        flag = flags.get(key)
        if flag is None:
            return failure(key, "FLAG_NOT_FOUND", f"there is no flag {shown(key)}")
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = _Compiled(key, flag, document)
        return compiled.answer(context)

    def is_timeless(self, document: Document) -> bool:
        """Whether all flags of the document were answered, and none of their rules asks for the time."""
        flags = document["flags"]
        return flags is self._flags and all(key in self._compiled and self._compiled[key].is_timeless for key in flags)


class _Compiled:
    """One flag, ready to be evaluated."""

    def __init__(self, key: str, flag: Flag, document: Document) -> None:
        self.key, self.flag = key, flag
        # Shared rules are written out here: the library puts them in by a regular expression, and trips over backslashes.
        rule = _unlogged(inlined(flag, document.get("$evaluators")).get("targeting"))
        self.is_timeless = _is_timeless(rule)
        self._needs_key = flag["state"] == "ENABLED" and _splits_by_key(rule)
        self._core = FlagdCore()
        shared = {"metadata": document.get("metadata") or {}}
        # As text: it changes what it is given.
        self._core.set_flags(json.dumps({"flags": {key: {**flag, "targeting": rule}}, **shared}))

    def answer(self, context: Mapping[str, Any]) -> Answer:
        key = context.get("targetingKey")
        if self._needs_key and not key:
            return failure(self.key, "TARGETING_KEY_MISSING", f"flag {shown(self.key)} is split by targetingKey")
        try:
            found = self._resolve(EvaluationContext(key, dict(context)))
        except ParseError:
            return failure(self.key, "PARSE_ERROR", f"the rule of flag {shown(self.key)} cannot be read")
        except GeneralError as error:
            return failure(self.key, "GENERAL", f"flag {shown(self.key)}: {error.error_message}")
        except (OpenFeatureError, Exception) as error:  # noqa: BLE001 - rules meet whatever callers send
            why = type(error).__name__
            return failure(self.key, "GENERAL", f"the rule of flag {shown(self.key)} does not fit the context: {why}")
        return self._success(found)

    def _resolve(self, context: EvaluationContext) -> FlagResolutionDetails[Any]:
        """Ask for the type that the flag has: all its values are of one."""
        value = next(iter(self.flag["variants"].values()))
        if isinstance(value, bool):
            return self._core.resolve_boolean_value(self.key, False, context)
        if isinstance(value, str):
            return self._core.resolve_string_value(self.key, "", context)
        if isinstance(value, int | float):
            return self._core.resolve_float_value(self.key, 0.0, context)
        return self._core.resolve_object_value(self.key, {}, context)

    def _success(self, found: FlagResolutionDetails[Any]) -> Answer:
        metadata = {name: value for name, value in (found.flag_metadata or {}).items() if name not in _PRIVATE}
        # Without a variation the default of the client's code holds: there is no value then. The variation is empty and
        # not missing, as the Python provider reads it in any case.
        answer = {"key": self.key, "reason": _REASONS.get(str(found.reason), "UNKNOWN"), "variant": found.variant or ""}
        if found.variant:
            answer["value"] = self.flag["variants"][found.variant]
        return {**answer, "metadata": metadata} if metadata else answer


def _unlogged(rule: Json) -> Json:
    """The rule without ``log``, which would print what callers send."""
    if isinstance(rule, list):
        return [_unlogged(part) for part in rule]
    if not isinstance(rule, dict):
        return rule
    if len(rule) == 1 and "log" in rule:
        logged = rule["log"]
        return _unlogged(logged[0] if isinstance(logged, list) and logged else logged)
    return {name: _unlogged(part) for name, part in rule.items()}


def _is_timeless(rule: Json) -> bool:
    """Whether no ``var`` can be ``$flagd.timestamp``: not by its name, nor by one that is computed."""
    if isinstance(rule, list):
        return all(map(_is_timeless, rule))
    if not isinstance(rule, dict):
        return True
    if len(rule) == 1 and "var" in rule:
        asked = rule["var"]
        name = asked[0] if isinstance(asked, list) and asked else asked
        if not isinstance(name, str) or name in ("", "$flagd", "$flagd.timestamp"):
            return False
    return all(map(_is_timeless, rule.values()))


def _splits_by_key(rule: Json) -> bool:
    """Whether there is a ``fractional`` that hashes ``targetingKey``, as one does that does not say what."""
    if isinstance(rule, list):
        return any(map(_splits_by_key, rule))
    if not isinstance(rule, dict):
        return False
    split = cast("Any", rule.get("fractional")) if len(rule) == 1 else None
    if isinstance(split, list) and split:
        hashed = split[0]
        if isinstance(hashed, list) or '"targetingKey"' in json.dumps(hashed):
            return True
    return any(map(_splits_by_key, rule.values()))
