"""The rules' file: YAML, read strictly. What is wrong is told with its line and what was expected there.

Scalars are taken as they are written: YAML would make a truth of `NO` and a number of `0071`.
"""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import TypeVar

import yaml

from dicom_node.errors import BadRules
from dicom_node.rules.film import Element
from dicom_node.rules.rule import PRIORITIES, Condition, Rule

_LARGEST_CHARACTERS = 262_144
_LONGEST_NAME = 40
_RULE_KEYS = ("name", "when", "read", "priority", "destinations")
_QUOTES = "texts with * or ? belong in quotes"
_YES_OR_NO = {"yes": True, "no": False}
_Value = TypeVar("_Value")


def parse_rules(text: str, destinations: Collection[str]) -> tuple[Rule, ...]:
    """The rules in their order. destinations: the names that the settings know.

    Raises BadRules for the first thing that is wrong.
    """
    root = _compose(text)
    keys = _mapping(root, "expected the key `rules`", ("rules",))
    if "rules" not in keys:
        raise _wrong(root, "expected the key `rules` and a list of rules under it")
    rules = tuple(_rule(node, destinations) for node in _items(keys["rules"]))
    if not rules:
        raise _wrong(keys["rules"], "expected at least one rule; for none, unset rules_file")
    _require_distinct_names(rules)
    _require_reachable(rules)
    return rules


def _compose(text: str) -> yaml.Node:
    if len(text) > _LARGEST_CHARACTERS:
        raise BadRules(f"it has {len(text)} characters, expected {_LARGEST_CHARACTERS} at most")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise BadRules(f"{line}this is no YAML: {error.problem or 'it cannot be read'} ({_QUOTES})") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise BadRules(f"this is no YAML ({type(error).__name__})") from error
    if root is None:
        raise BadRules("it is empty, expected the key `rules` and a list of rules under it")
    return root


def _rule(node: yaml.Node, destinations: Collection[str]) -> Rule:
    keys = _mapping(node, "expected a rule: a name, and what it does", _RULE_KEYS)
    if "name" not in keys:
        raise _wrong(node, "a rule without a name: add `name:`")
    is_read = _one_of(keys["read"], _YES_OR_NO) if "read" in keys else True
    if not is_read and (idle := [key for key in ("priority", "destinations") if key in keys]):
        raise _wrong(keys[idle[0]], f"what is not read has no {idle[0]}: remove it, or set `read: yes`")
    return Rule(
        name=_name(keys["name"]),
        line=node.start_mark.line + 1,
        when=tuple(_conditions(keys["when"])) if "when" in keys else (),
        is_read=is_read,
        priority=_one_of(keys["priority"], {name: name for name in PRIORITIES}) if "priority" in keys else None,
        destinations=_destinations(keys["destinations"], destinations) if "destinations" in keys else None,
    )


def _conditions(node: yaml.Node) -> Iterator[Condition]:
    keys = _mapping(node, "expected elements and what they are to be like", tuple(Element))
    if not keys:
        raise _wrong(node, "`when` names nothing: remove it for a rule that takes every film")
    for key, value in keys.items():
        patterns = tuple(_text(each) for each in _items_or_one(value))
        if not patterns:
            raise _wrong(value, f"{key} has an empty list, expected at least one text; `*` is any that is stated")
        yield Condition(Element(key), patterns)


def _destinations(node: yaml.Node, known: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_one_of(each, {name: name for name in known}) for each in _items_or_one(node)))


def _name(node: yaml.Node) -> str:
    name = _text(node)
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise _wrong(node, f"a name of {len(name)} characters, expected {_LONGEST_NAME} printable ones at most")
    return name


def _one_of(node: yaml.Node, values: dict[str, _Value]) -> _Value:
    word = _text(node)
    if word not in values:
        raise _wrong(node, f"{_unknown(word, tuple(values))}")
    return values[word]


def _text(node: yaml.Node) -> str:
    """As it is written, blanks single."""
    words = " ".join(node.value.split()) if isinstance(node, yaml.ScalarNode) else ""
    if not words:
        raise _wrong(node, "expected a text")
    return words


def _items_or_one(node: yaml.Node) -> Sequence[yaml.Node]:
    return (node,) if isinstance(node, yaml.ScalarNode) else _items(node)


def _items(node: yaml.Node) -> Sequence[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode):
        raise _wrong(node, "expected a list")
    items: list[yaml.Node] = node.value
    return items


def _mapping(node: yaml.Node, expected: str, keys: Sequence[str]) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, expected)
    found: dict[str, yaml.Node] = {}
    for key_node, value in node.value:
        key = _text(key_node)
        if key not in keys:
            raise _wrong(key_node, _unknown(key, keys))
        if key in found:
            raise _wrong(key_node, f"`{key}` a second time: put its values into one list")
        found[key] = value
    return found


def _unknown(word: str, known: Sequence[str]) -> str:
    folded = word.casefold()
    near = [each for each in known if folded in each] or get_close_matches(folded, known)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{word} is not known here; {hint}Expected {', '.join(known) or 'none: the settings name no destination'}"


def _require_distinct_names(rules: Sequence[Rule]) -> None:
    first: dict[str, Rule] = {}
    for rule in rules:
        earlier = first.setdefault(rule.name.casefold(), rule)
        if earlier is not rule:
            raise BadRules(
                f"line {rule.line}: rule {rule.name} has the name of that in line {earlier.line}: rename one"
            )


def _require_reachable(rules: Sequence[Rule]) -> None:
    """Of each rule alone: what several before it take together is not looked for."""
    for index, rule in enumerate(rules):
        taker = next((earlier for earlier in rules[:index] if earlier.covers(rule)), None)
        if taker is not None:
            words = f"rule {rule.name} never gets a film: rule {taker.name} (line {taker.line}) takes all that it would"
            raise BadRules(f"line {rule.line}: {words}; put it before that, or remove it")


def _wrong(node: yaml.Node, words: str) -> BadRules:
    return BadRules(f"line {node.start_mark.line + 1}: {words}")
