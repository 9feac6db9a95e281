"""The version of this program, below everything that wants to say it."""

__version__ = "0.1.0"
