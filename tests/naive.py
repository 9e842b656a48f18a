"""What every fast function means, in slow plain Python."""


# --- statistics of groups, markers ---------------------------------------------------------------


def wins(x, y):
    """Count the pairs in which x is above y; a tie counts half."""
    return sum((a > b) + 0.5 * (a == b) for a in x for b in y)


def normal_score(x, y, tie_correct=True):
    """Score U against its normal approximation, without continuity correction."""
    both = [*x, *y]
    n1, n2, n = len(x), len(y), len(both)
    ties = sum(both.count(v) ** 3 - both.count(v) for v in set(both)) if tie_correct else 0
    variance = n1 * n2 * (n + 1) / 12 * (1 - ties / (n**3 - n))
    away = wins(x, y) - n1 * n2 / 2
    return 0.0 if away == 0 else away / variance**0.5


def average_by_weight(values, n1, n2):
    """Average over samples with weights n1 n2 / (n1 + n2); None is left out."""
    kept = [(v, a * b / (a + b)) for v, a, b in zip(values, n1, n2) if v is not None]
    return sum(v * w for v, w in kept) / sum(w for _, w in kept)


def benjamini_hochberg(p):
    """Adjust p-values: the least p_j m / j among all j that are not smaller."""
    m = len(p)
    place = {i: r + 1 for r, i in enumerate(sorted(range(m), key=lambda i: p[i]))}
    return [
        min(1.0, *(p[j] * m / place[j] for j in range(m) if place[j] >= place[i])) for i in range(m)
    ]


def cosg(x, labels, group):
    """Return cos(x, group)^3 / the sum over groups of cos(x, group)^2."""

    def cosine(g):
        inside = [float(label == g) for label in labels]
        length = sum(v * v for v in x) ** 0.5 * sum(inside) ** 0.5
        return sum(v * i for v, i in zip(x, inside)) / length if length else 0.0

    total = sum(cosine(g) ** 2 for g in set(labels))
    return cosine(group) ** 3 / total if total else 0.0
