"""Safety: whether a question may be answered."""

from .build import SafetyRules, build, read_rules
from .guard import Guard, Verdict, refusal_text

__all__ = ["Guard", "SafetyRules", "Verdict", "build", "read_rules", "refusal_text"]
