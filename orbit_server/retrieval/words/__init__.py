"""Everything about words: how a text becomes terms, in which language, and where they are found."""
