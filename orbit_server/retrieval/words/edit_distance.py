"""How far apart two words are, in letters that are changed, left out, added or swapped."""


def within(one: str, other: str, distance: int) -> bool:
    """Return whether ``one`` becomes ``other`` by at most ``distance`` edits.

    Two neighbours that changed places count as one edit (optimal string alignment).
    """
    if abs(len(one) - len(other)) > distance:
        return False
    same = 0
    for mine, its in zip(one, other, strict=False):
        if mine != its:
            break
        same += 1
    one, other = one[same:], other[same:]
    if not one or not other:
        return True  # the lengths differ by no more than what is allowed
    if distance == 0:
        return False
    return (
        within(one[1:], other[1:], distance - 1)
        or within(one, other[1:], distance - 1)
        or within(one[1:], other, distance - 1)
        or (one[:2] == other[1::-1] and within(one[2:], other[2:], distance - 1))
    )
