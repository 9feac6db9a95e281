"""All that was given becomes one configuration, or one error with every mistake."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orbit_server.config import Config, load
from orbit_server.config.section import keys_of, section_of
from orbit_server.errors import ConfigError

from ..support.configuration import ORIGINAL, mistake, mistakes, read


def test_all_mistakes_are_told_at_once_in_order() -> None:
    """Every kind of mistake at once, by line."""
    text = """\
general:
  port: 70000
  prot: 1
  port: 2
ollama: 5
chroma:
  host: ${NOWHERE}
  timeout: -1
unknown: {a: 1}
"""
    told = mistakes(text, {"ADMIN_TOKEN": "short"}, {"retrieval.top_k": 0})
    places = [line.partition(": ")[0] for line in told]
    assert set(places[:2]) == {"command line", "environment"}
    assert places[2:] == [f"config.yaml:{line}" for line in (2, 3, 4, 5, 7, 8, 9)]
    assert "general.port: is given twice, in line 2 already" in told[4]


def test_same_key_twice_is_an_error() -> None:
    """Also under its two names, and inside a mapping."""
    assert "line 1 already" in mistake("ollama: {num_thread: 1,\n num_threads: 2}")
    assert "chroma.headers.a: is given twice" in mistake("chroma: {headers: {a: b, a: c}}")
    assert "general: is given twice" in mistake("general:\n  port: 1\ngeneral:\n  port: 2\n")


def test_file_of_the_original_loads_with_its_warnings() -> None:
    """Every key of the original means the same, and what means nothing is named in one warning."""
    config = read(ORIGINAL)
    ignored, thresholds = config.warnings
    assert ignored == (
        "config.yaml: these keys no longer have any effect and are ignored: logging.file.filename, "
        "logging.file.backup_count, logging.file.rotation, "
        "logging.file.format, logging.capture_warnings, logging.propagate, ollama.stream, "
        "ollama.timeout, ollama.connector_limit, ollama.summarization, safety.stream, mongodb"
    )
    assert "chroma.confidence_threshold and chroma.relevance_threshold" in thresholds
    assert "`calibrate`" in thresholds
    assert (config.general.port, config.general.verbose) == (3001, True)
    assert (config.chroma.host, config.chroma.collection) == ("localhost", "qa-chatbot")
    assert (config.chroma.confidence_threshold, config.chroma.relevance_threshold) == (0.85, 0.7)
    assert (config.ollama.num_threads, config.safety.mode) == (8, "fuzzy")
    assert config.safety.active and config.api_keys.require_for_health
    assert config.elasticsearch.auth.username is None


def test_short_example_of_the_original_loads() -> None:
    """The keys its README shows."""
    config = read(
        "general: {port: 3000, host: 0.0.0.0, verbose: false, https: {enabled: false}}\n"
        "logging: {level: INFO, file: {enabled: true}, console: {enabled: true}}\n"
        "chroma: {host: localhost, port: 8000, collection: qa}\n"
        "ollama: {base_url: 'http://localhost:11434', model: 'gemma3:1b', embed_model: bge-m3}\n"
        "reranker: {enabled: true, model: 'gemma3:1b', top_n: 3}\n"
        "safety: {mode: strict, model: 'gemma3:12b'}\n"
    )
    assert config.warnings == ()
    assert config.safety.active and config.reranker.enabled


@pytest.mark.parametrize(
    ("text", "mode", "active"),
    [
        ("", "disabled", False),
        ("safety:", "disabled", False),
        ("safety: {model: x}", "fuzzy", True),
        ("safety: {enabled: true}", "fuzzy", True),
        ("safety: {enabled: 'false'}", "fuzzy", False),
        ("safety: {mode: strict}", "strict", True),
        ("safety: {mode: strict, enabled: false}", "strict", False),
        ("safety: {mode: disabled, enabled: true}", "disabled", False),
    ],
)
def test_safety_section_means_safety(text: str, mode: str, active: bool) -> None:
    """As in the original a section without a mode checks questions; no section does not."""
    safety = read(text).safety
    assert (safety.mode, safety.active) == (mode, active)


def test_safety_prompt_file_has_two_names() -> None:
    """The one in the safety section wins."""
    assert read("general: {safety_prompt_file: a.txt}").safety.prompt_file == "a.txt"
    both = "general: {safety_prompt_file: a.txt}\nsafety: {prompt_file: b.txt}"
    assert read(both).safety.prompt_file == "b.txt"


def test_no_results_message_comes_from_its_file() -> None:
    """load reads the file, and says where the key stands when it cannot."""
    text = "answer: {no_results_message: short}\ngeneral:\n  no_results_message_file: none.txt\n"
    assert mistake(text) == (
        "config.yaml:3: general.no_results_message_file: "
        "none.txt: cannot be read: No such file or directory"
    )
    Path("none.txt").write_text("Nichts gefunden.\n", encoding="utf-8")
    assert read(text).answer.no_results_message == "Nichts gefunden."
    Path("none.txt").write_text(" \n")
    assert "config.yaml:3: " in mistake(text)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()


NAMES = st.sampled_from(sorted({part for key, _ in keys_of(Config) for part in key.split(".")}))


TREES = st.recursive(
    SCALARS | st.sampled_from(["${A}", "${B}", "$${", "1", "false", "http://a", "disabled"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


SHAPED = st.fixed_dictionaries(
    {},
    optional={
        name: st.dictionaries(st.sampled_from(sorted(section.model_fields)), TREES, max_size=4)
        for name, info in Config.model_fields.items()
        if (section := section_of(info)) is not None
    },
)


anything = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def config_or_error(text: str) -> None:
    Path("config.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        config = load(environ={"A": "1"})
    except ConfigError as error:
        assert error.mistakes
        assert all(line.isprintable() for line in error.mistakes)
    else:
        assert Config.model_validate(config.model_dump()) == config.model_copy(
            update={"warnings": ()}
        )


@anything
@given(st.text(alphabet=st.sampled_from("ab:-?&*!|>%@`'\"#{}[],<~$\\\n \t0.ä\x00\x85\ufeff")))
@example("? |\n")
@example("!<tag:yaml.org,2002:int> abc: 1")
@example("general: {port: !!int abc}")
@example("general: {port: !!float []}")
@example("general: !!set {a, b}")
@example("logging: &a {file: *a}")
@example("a: " + "{a: " * 2000)
def test_any_text_is_a_configuration_or_an_error(text: str) -> None:
    """Whatever the file says, there is no traceback."""
    config_or_error(text)


@anything
@given(TREES | SHAPED)
def test_any_tree_is_a_configuration_or_an_error(tree: object) -> None:
    """Values of every kind in every place are read or refused, and what was read is stable."""
    config_or_error(yaml.safe_dump(tree, allow_unicode=True))


@anything
@given(st.text())
def test_any_dotenv_is_read_or_refused(text: str) -> None:
    """A broken .env never costs more than a line."""
    Path("config.yaml").write_text("")
    Path(".env").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load(environ={})
    except ConfigError as error:
        assert error.mistakes
    finally:
        Path(".env").unlink()


def test_elasticsearch_is_on_where_words_are_in_it() -> None:
    """Also while the chat log does not go there: a variable of its section has to be set."""
    section = "elasticsearch: {api_key: '${NOT_SET_ANYWHERE}'}\n"
    assert read(section).elasticsearch.api_key is None
    assert "NOT_SET_ANYWHERE" in mistake(f"retrieval: {{words: elasticsearch}}\n{section}")
