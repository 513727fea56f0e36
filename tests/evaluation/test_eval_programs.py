"""Programs that a model wrote: where they are, and whether they are right."""

from __future__ import annotations

import sys

import pytest

from hogwild.evaluation.grading.programs import Test as Case
from hogwild.evaluation.grading.programs import find_code, passes

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

INCREMENT = "class Solution:\n    def f(self, x: int) -> int:\n        return x + 1\n"


# writes to where the result goes, whichever number that file has
DEEP = """import os
def f(a):
    for out in range(3, 9):
        try:
            os.write(out, b"[" * 9999)
        except OSError:
            pass
"""


def test_output_is_compared_by_lines_and_numbers():
    code = "print(sum(map(int, input().split())))"
    assert passes(code, [Case("1 2", "3"), Case("1 2", "3.0\n")])
    assert not passes(code, [Case("1 2", "3"), Case("1 2", "4")])
    assert not passes("print('3 4')", [Case("", "3\n4")])
    assert not passes("", [])


def test_results_are_compared_as_json():
    assert passes("def f(a): return {'a': (a, 1.0)}", [Case("2", '{"a": [2, 1]}', "f")])
    assert not passes("def f(a): return object()", [Case("2", "2", "f")])
    assert not passes(DEEP, [Case("2", "2", "f")])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a\n```python\nx = 1\n```\nb\n```\ny = 2\n```\n", "y = 2\n"),
        ("```py\nx = 1", "x = 1"),
        ("x = 1", "x = 1"),
    ],
)
def test_the_last_block_is_the_program(text, code):
    assert find_code(text) == code


def test_imports_from_the_future_may_stand_first():
    code = '"""A solution."""\nfrom __future__ import annotations\n\ndef f(x: Nothing) -> None: print(x)\nf(input())'
    assert passes(code, [Case("3", "3")])


DOCUMENTED = '''def f(x):
    """One more.

    ```
    f(1) == 2
    ```
    """
    return x + 1
'''


def test_a_block_in_a_docstring_is_not_the_program():
    assert find_code(DOCUMENTED) == DOCUMENTED
    assert passes(find_code(DOCUMENTED), [Case("1", "2", "f")])


@pytest.mark.parametrize("words", ["Solution", "Answer: code", "Easy, right", "0"])
def test_words_that_happen_to_be_python_are_no_program(words):
    assert find_code(f'{words}\n"""\n```python\nprint(1)\n```\n"""') == "print(1)\n"


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("print(pow(3, 200, 1000007))", str(pow(3, 200, 1000007))),
        ("print(pow(3, 50))", str(3**50)),
        ("print(open(0).read(), compile('1', '', 'eval') and abs(-1))", "1"),  # the builtins of these names
        ("print(Counter('aab') == collections.Counter(a=2, b=1))", "True"),
        (
            "print(ascii_lowercase[:3], string.digits[0], findall('b', 'abb'), re.sub('a', 'b', 'a'))",
            "abc 0 ['b', 'b'] b",
        ),
        (
            "print(timedelta(1).days, datetime.date(2024, 1, 2), deepcopy([1]), copy.copy(2))",
            "1 2024-01-02 [1] 2",
        ),
        ("print(mean([1, 3]), statistics.median([1]), itemgetter(1)('ab'), operator.neg(1))", "2 1 b -1"),
        ("print(StringIO('a').read(), io.BytesIO(b'').read(), dumps([1]), json.loads('2'))", "a b'' [1] 2"),
        (
            "print(heappop([1]), heapq.nsmallest(1, [2]), bisect_left([1], 1), bisect.bisect([1], 1))",
            "1 [2] 0 1",
        ),
        ("print(gcd(4, 6), math.pi > 3, *accumulate([1, 2]), *itertools.count.__name__[:1])", "2 True 1 3 c"),
        (
            "print(cache(len)('ab'), functools.reduce(add, [1, 2]), randint(1, 1), random.choice([5]))",
            "2 3 1 5",
        ),
        ("def f(x: List[int]) -> Optional[Dict[str, Any]]: print(maxsize > 1, x)\nf(1)", "True 1"),
        ("if __name__ == '__main__':\n    print(1)", "1"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int' = 1\nprint(A())", "A(x=1)"),
    ],
)
def test_names_that_solutions_take_for_granted(code, printed):
    assert passes(code, [Case("", printed)])


def test_integers_have_as_many_digits_as_they_need():
    many = "1" + "0" * 9000
    assert passes("print(10**9000)", [Case("", many)])
    assert passes("def f(x): return x * 10", [Case(many, many + "0", "f")])
    assert not passes("def f(x): return x * 10 + 1", [Case(many, many + "0", "f")])


def test_recursion_may_be_deep():
    plain = "def f(n): return f(n - 1) + 1 if n else 0"
    assert passes(plain, [Case("45000", "45000", "f")])
    assert not passes(plain, [Case("60000", "60000", "f")])
    if sys.version_info[:2] not in ((3, 12), (3, 13)):  # these count calls through C, whatever the stack
        assert passes(f"@cache\n{plain}", [Case("24000", "24000", "f")])


@pytest.mark.parametrize(
    "rest",
    [
        "print(Solution().f(3))",
        "import os; os.write(1, b'3')",
        "print(3, file=sys.__stdout__)",
        "text = sys.stdin.read()",
        "text = open(0).read()",
        "if __name__ == '__main__':\n    print(Solution().f(int(input())))",
        "class Other:\n    def f(self): raise ValueError",
    ],
)
def test_what_stands_beside_a_function_does_not_change_its_result(rest):
    assert passes(f"{INCREMENT}\n{rest}\n", [Case("1", "2", "f")])
    assert not passes(f"{INCREMENT}\n{rest}\n", [Case("1", "3", "f")])


def test_a_function_that_prints_or_ends_the_program_is_told_from_one_that_returns():
    assert passes("def f(x):\n    print(x)\n    return x", [Case("1", "1", "f")])
    assert not passes("def f(x): print(x)", [Case("1", "1", "f")])
    assert not passes("def f(x):\n    print(x)\n    sys.exit()", [Case("1", "1", "f")])
    assert not passes("int(input())\ndef f(x): return x", [Case("1", "1", "f")])


def test_arguments_are_lines_whatever_else_breaks_them():
    assert passes("def f(a, b): return [a, b]", [Case('"x\u2028y"\n\n2\n', '["x\u2028y", 2]', "f")])


def test_half_a_surrogate_pair_in_a_comment_does_no_harm():
    assert passes("print(1)  # \ud83d", [Case("", "1")])
