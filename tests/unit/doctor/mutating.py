"""Rules with one of their conditions taken out: what the fixtures must notice."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from functools import cache

from resilient_wsgi.doctor.collect import from_texts
from tests.unit.doctor.completing import completed, near_cases

SUBJECTS = {}


def mutants(rule):
    """Yield what was changed and the changed check, for each condition in a rule's function and in
    the private functions of its module that it calls.
    """
    module = sys.modules[rule.check.__module__]
    for name in _own_functions(rule.check.__name__, module):
        tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(module, name))))
        tree.body[0].decorator_list = []
        count = sum(1 for _ in _conditions(tree))
        for n, always in ((n, always) for n in range(count) for always in (True, False)):
            changed = ast.parse(ast.unparse(tree))
            parent, field, index = list(_conditions(changed))[n]
            node = getattr(parent, field)
            what = (
                f"{name}: {always} instead of {ast.unparse(node if index is None else node[index])}"
            )
            if index is None:
                setattr(parent, field, ast.Constant(always))
            else:
                node[index] = ast.Constant(always)
            space = dict(vars(module))
            code = compile(ast.fix_missing_locations(changed), module.__file__, "exec")
            exec(code, space)
            yield what, _relinked(rule.check, name, space, module)


def notices(rule, check):
    """Return whether a fixture of the rule tells a changed check from the rule's own."""
    try:
        return any(
            _found(check, files) != _found(rule.check, files) for files in _fixtures(rule.code)
        )
    except Exception:
        return True


def _conditions(tree):
    """Yield where each condition hangs: its parent, the field, the index in a list or None.

    What is asked only for the type checker is left out: whether an option or a number is there at
    all, beside what is asked of it.
    """
    looked_up = set(_looked_up(tree))
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(
            node.test, ast.BoolOp
        ):
            yield node, "test", None
        elif isinstance(node, ast.BoolOp) and not _is_text(node):
            for index, value in enumerate(node.values):
                if getattr(value, "id", "") not in looked_up and not _with_none(value):
                    yield node, "values", index
        elif isinstance(node, ast.comprehension):
            for index in range(len(node.ifs)):
                yield node, "ifs", index


def _looked_up(tree):
    """Yield the names that hold an option or a number of a configuration, or None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            pairs = (
                zip(target.elts, value.elts)
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                else [(target, value)]
            )
            for name, of in pairs:
                function = getattr(of, "func", None)
                called = getattr(function, "attr", getattr(function, "id", ""))
                if called in {"last", "number", "version", "version_of"}:
                    yield name.id


def _with_none(node):
    return isinstance(node, ast.Compare) and ast.unparse(node).endswith("None")


def _is_text(node):
    """Return whether an `or` chooses a value instead of deciding: `option or config`, `n or 0`."""
    plain = (ast.Name, ast.Constant, ast.Call, ast.JoinedStr, ast.Attribute)
    last = node.values[-1]
    return isinstance(node.op, ast.Or) and (
        isinstance(last, (ast.Constant, ast.Dict))
        or (
            isinstance(last, (ast.Name, ast.Attribute))
            and all(isinstance(each, plain) for each in node.values)
        )
    )


def _own_functions(first, module):
    """Return the names of a function and of those of its module that it calls, directly or not."""
    names = [first]
    for name in names:
        tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(module, name))))
        for node in ast.walk(tree):
            called = getattr(node, "id", "")
            own = getattr(module, called, None) if called.startswith("_") else None
            if inspect.isfunction(own) and own.__module__ == module.__name__:
                names += [called] if called not in names else []
    return names


def _relinked(check, changed, space, module):
    """Return the check with the changed function in the place of the old one."""
    if changed == check.__name__:
        return space[changed]
    tree = ast.parse(textwrap.dedent(inspect.getsource(check)))
    tree.body[0].decorator_list = []
    exec(compile(tree, module.__file__, "exec"), space)
    for name in _own_functions(check.__name__, module)[1:]:
        if name != changed:
            exec(textwrap.dedent(inspect.getsource(getattr(module, name))), space)
    return space[check.__name__]


@cache
def _near():
    return near_cases()


def _fixtures(code):
    from resilient_wsgi.doctor.model import RULES

    rule = RULES[code]
    yield from (rule.bad, completed(rule.good))
    yield from (files for of, files, _ in _near() if of == code)


def _found(check, files):
    key = repr(sorted(files.items()))
    if key not in SUBJECTS:
        SUBJECTS[key] = from_texts(files)
    return [
        (each.location, each.message, each.severity, each.edits) for each in check(SUBJECTS[key])
    ]
