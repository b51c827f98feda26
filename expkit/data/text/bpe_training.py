"""Learning the merges of a byte-pair encoding (Sennrich et al., 2016): the most frequent pair, again and again.

Of pairs that are equally frequent the one with the lower ids is merged, as Hugging Face's trainer does, so that the
same texts give the same vocabulary.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

from expkit.data.text.pretokenize import words
from expkit.errors import ConfigError

Ids = list[int]


def learn(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str],
    min_count: int,
    alphabet: Sequence[str],
    written: Callable[[str], str],
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(vocabulary, merges). alphabet: the tokens to begin with; written: a word as characters of the alphabet."""
    least = len(special_tokens) + len(alphabet)
    if vocab_size < least:
        raise ConfigError(
            f"vocab_size={vocab_size} is too small: {len(alphabet)} bytes and {len(special_tokens)} special tokens "
            f"need {least}."
        )
    vocab = {token: number for number, token in enumerate([*special_tokens, *alphabet])}
    tokens = list(vocab)
    counted = Counter(word for text in texts for word in words(text))
    pairs = _Pairs([([vocab[c] for c in written(word)], count) for word, count in counted.items()])
    merges = []
    while len(tokens) < vocab_size:
        best = pairs.most_frequent()
        if best is None or best[1] < min_count:
            break
        left, right = best[0]
        merged = tokens[left] + tokens[right]
        if merged not in vocab:  # it is there where other two make the same characters
            vocab[merged] = len(tokens)
            tokens.append(merged)
        merges.append((tokens[left], tokens[right]))
        pairs.merge((left, right), vocab[merged])
    return vocab, merges


class _Pairs:
    """How often each pair of neighbours occurs, and in which words. words: (ids, how often the word occurs)."""

    def __init__(self, counted: list[tuple[Ids, int]]) -> None:
        self.words = [ids for ids, _ in counted]
        self.times = [count for _, count in counted]
        self.counts: dict[tuple[int, int], int] = defaultdict(int)
        self.places: dict[tuple[int, int], set[int]] = defaultdict(set)
        for number in range(len(self.words)):
            self._add(number, 1)
        self.heap = [(-count, pair) for pair, count in self.counts.items()]
        heapify(self.heap)

    def most_frequent(self) -> tuple[tuple[int, int], int] | None:
        """The pair that occurs most often, and how often; None where no two tokens are neighbours."""
        while self.heap:
            count, pair = heappop(self.heap)
            now = self.counts.get(pair, 0)
            if now == -count and now > 0:
                return pair, now
            if 0 < now < -count:  # it has become rarer; of those that became more frequent there is another entry
                heappush(self.heap, (-now, pair))
        return None

    def merge(self, pair: tuple[int, int], token: int) -> None:
        """`token` in place of the pair, in all words."""
        touched: set[tuple[int, int]] = set()
        for number in self.places.pop(pair):
            touched |= self._add(number, -1)
            self.words[number] = _replaced(self.words[number], pair, token)
            touched |= self._add(number, 1)
        self.counts.pop(pair, None)
        for changed in touched - {pair}:
            if self.counts[changed] > 0:
                heappush(self.heap, (-self.counts[changed], changed))

    def _add(self, number: int, sign: int) -> set[tuple[int, int]]:
        """Counts the pairs of a word in, or (sign -1) out; which ones those are."""
        ids, times = self.words[number], sign * self.times[number]
        found = list(pairwise(ids))
        for pair in found:
            self.counts[pair] += times
            if sign > 0:
                self.places[pair].add(number)
        return set(found)


def _replaced(ids: Ids, pair: tuple[int, int], token: int) -> Ids:
    left, right = pair
    made, at, last = [], 0, len(ids) - 1
    while at <= last:
        if at < last and ids[at] == left and ids[at + 1] == right:
            made.append(token)
            at += 2
        else:
            made.append(ids[at])
            at += 1
    return made
