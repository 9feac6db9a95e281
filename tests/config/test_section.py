"""What a section is: fixed, strict, and without a secret in its repr."""

from pydantic import Field, SecretStr

from orbit_server.config.section import Section, keys_of, rare, section, section_of, setting

from ..support.configuration import read

SECRET = "hunter2hunter2"


class Inner(Section):
    """A section within one."""

    size: int = rare(1, "Its size.")


class Outer(Section):
    """A section."""

    name: str = setting("none", "Its name.")
    inner: Inner = section(Inner)
    elsewhere: int = Field(default=0, exclude=True)


def test_keys_of_a_section() -> None:
    """Declared with default and meaning, found by dotted name; what is excluded is no key."""
    keys = dict(keys_of(Outer))
    assert list(keys) == ["name", "inner.size"]
    assert (keys["name"].default, keys["name"].description) == ("none", "Its name.")
    assert keys["inner.size"].json_schema_extra == {"rare": True}
    assert Outer.model_fields["inner"].description == "A section within one."
    assert section_of(Outer.model_fields["inner"]) is Inner
    assert section_of(keys["name"]) is None and section_of(None) is None


def test_no_secret_is_in_repr_or_str() -> None:
    """A configuration may be logged."""
    config = read(
        f"elasticsearch: {{auth: {{password: {SECRET}}}}}\n"
        f"chroma: {{headers: {{x-chroma-token: {SECRET}}}}}\n"
        f"ollama: {{base_url: 'https://u:{SECRET}@h'}}\n"
        f"database: {{url: 'postgresql+asyncpg://u:{SECRET}@h/db?password={SECRET}'}}\n",
        {"ADMIN_TOKEN": SECRET + SECRET},
    )
    assert SECRET in config.database.url
    assert config.elasticsearch.auth.password == SecretStr(SECRET)
    for text in (
        repr(config),
        str(config),
        repr(config.database),
        f"{config.ollama} {config.chroma}",
    ):
        assert SECRET not in text
    assert "postgresql+asyncpg://***@h/db?***" in repr(config)
