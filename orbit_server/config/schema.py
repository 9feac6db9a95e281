"""Every setting: its default, what is allowed, and why one would change it.

The descriptions are repeated word for word by ``config.yaml.example`` and
``docs/configuration.md``.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from .values import (
    HOST,
    TOKEN,
    Allowed,
    Candidates,
    Count,
    Distance,
    HttpUrl,
    Network,
    OneOf,
    OptionalSecret,
    OptionalSwitch,
    OptionalText,
    Pause,
    Penalty,
    Port,
    Seconds,
    Share,
    Switch,
    Temperature,
    Text,
    duration,
    header_map,
    host_name,
    http_url_without_user,
    listed,
    masked,
    matching,
    network,
    number,
    optional,
    origin,
    plain_text,
    redaction,
    refusal,
    thinking,
    time_zone,
    token,
    whole,
)

S = TypeVar("S", bound="Section")
T = TypeVar("T")


class Section(BaseModel):
    """Base of all sections: fixed once read, unknown names refused, nothing secret in its repr."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, masked(value) if isinstance(value, str) else value


def why(default: T, description: str) -> T:
    """Declare a key: its default, and in one line why one would change it."""
    return Field(default=default, description=description)


def section(model: type[S]) -> S:
    """Declare a section, described by the docstring of its model."""
    return why(model(), model.__doc__ or "")


class HttpsConfig(Section):
    """HTTPS without a proxy in front."""

    enabled: Switch = why(False, "Serve HTTPS from here when no proxy in front does it.")
    port: Port = why(3443, "Where HTTPS is served.")
    cert_file: Text = why("./cert.pem", "Certificate chain (PEM) that browsers are shown.")
    key_file: Text = why("./key.pem", "Private key (PEM) of the certificate.")
    redirect_http: Switch = why(
        False, "Listen on general.port too, and send whoever comes there to HTTPS."
    )


class GeneralConfig(Section):
    """The server itself."""

    host: Annotated[str, Allowed("a host name or address alone, such as 0.0.0.0", host_name)] = why(
        "0.0.0.0", 'Where to listen: "127.0.0.1" keeps the server to this machine.'
    )
    port: Port = why(3000, "Where HTTP is served; clients expect 3000.")
    verbose: Switch = why(False, "Say more at work: the same as logging.level DEBUG.")
    trusted_proxies: Annotated[
        tuple[Network, ...],
        listed("IP addresses and networks, such as 127.0.0.1 or 10.0.0.0/8", network),
    ] = why((), "Proxies whose X-Forwarded-For is believed; anybody else could invent one.")
    drain_seconds: Pause = why(30, "How long running answers may finish when the server stops.")
    no_results_message_file: OptionalText = why(
        None, "Text file whose content replaces answer.no_results_message."
    )
    safety_prompt_file: OptionalText = why(
        None, "The older name of safety.prompt_file, which wins over it."
    )
    acme_dir: OptionalText = why(
        None, "Webroot in which certbot leaves its proofs, answered over HTTP on general.port."
    )
    https: HttpsConfig = section(HttpsConfig)

    @field_validator("https", mode="after")
    @classmethod
    def _redirects_from_another_port(cls, https: HttpsConfig, info: ValidationInfo) -> HttpsConfig:
        if https.enabled and https.redirect_http and https.port == info.data.get("port"):
            words = "another port than general.port, where redirect_http listens"
            raise refusal(words, key="port")
        return https


class LogFileConfig(Section):
    """Log files."""

    enabled: Switch = why(True, "Write the server's own log to a file; chats are always written.")
    directory: Text = why("logs", "Folder of all log files, the chat log among them.")
    max_size_mb: Annotated[float, number(0, 10_000, above=True)] = why(
        20, "Size at which a day's chat log goes on in the next file, in megabytes."
    )
    retention_days: Annotated[int, whole(1, 36_500)] = why(
        14, "Days after which chat logs are removed, unless they are still to be shipped."
    )
    max_wait_ms: Annotated[float, number(0, 60_000)] = why(
        50, "Longest time an answer's end waits for its line to be written."
    )


class ConsoleConfig(Section):
    """The log on the terminal."""

    enabled: Switch = why(True, "Log to the terminal (standard error).")
    format: OneOf[Literal["text", "json"]] = why(
        "text", '"text" for people, "json" for a collector of container logs.'
    )


class LoggingConfig(Section):
    """What is written about the server's work."""

    level: OneOf[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]] = why(
        "INFO", "The least important kind of message that is written."
    )
    file: LogFileConfig = section(LogFileConfig)
    console: ConsoleConfig = section(ConsoleConfig)
    timezone: Annotated[str, Allowed("a time zone such as UTC or Europe/Vienna", time_zone)] = why(
        "UTC", "Where the day of a chat log begins; times in it are always UTC."
    )
    redact: Annotated[
        tuple[str, ...],
        listed("email, phone, card, iban, or regular expressions between slashes", redaction),
    ] = why((), "What is blotted out of questions and answers before they are written.")
    include_prompts: Switch = why(False, "Log whole prompts too, when general.verbose is on.")


class MetricsConfig(Section):
    """Figures for a monitoring system."""

    public: Switch = why(False, "Show /metrics to everybody, not only with the admin token.")


class ChromaConfig(Section):
    """Where the documents are stored and searched."""

    host: Annotated[str | None, optional(HOST)] = why(
        None, "Host of a Chroma server; null runs Chroma inside this process."
    )
    port: Port = why(8000, "Port of the Chroma server.")
    path: Text = why("data/chroma", "Folder of the documents when Chroma runs inside.")
    ssl: Switch = why(False, "Talk HTTPS to the Chroma server.")
    headers: Annotated[
        dict[str, SecretStr], Allowed("a mapping of header names to texts", header_map, secret=True)
    ] = why({}, "Headers the Chroma server asks for, such as x-chroma-token: ${CHROMA_TOKEN}.")
    tenant: Text = why("default_tenant", "Tenant on a Chroma server that several share.")
    database: Text = why("default_database", "Database of that tenant that holds the documents.")
    timeout: Seconds = why(10, "Seconds the Chroma server may take for one request.")
    collection: OptionalText = why(
        None, "Collection for requests without a key (api_keys.allow_default)."
    )
    confidence_threshold: Distance = why(
        None, "Least similarity of the best passage; null lets the server decide."
    )
    relevance_threshold: Distance = why(
        None, "Least similarity of any passage; null lets the server decide."
    )


class OllamaConfig(Section):
    """The language model's server, and how it words answers."""

    base_url: HttpUrl = why("http://localhost:11434", "Where Ollama answers; no path behind it.")
    model: Text = why("gemma3:4b", "Model that words the answers.")
    embed_model: Text = why(
        "bge-m3", "Model that turns texts into vectors; another one needs documents loaded anew."
    )
    temperature: Temperature = why(
        0.1, "0 repeats itself and stays with the documents, 1 is inventive."
    )
    top_p: Share = why(0.8, "Draw words only from the likeliest that together reach this share.")
    top_k: Candidates = why(20, "Draw each word from at most so many candidates; 0 for all.")
    repeat_penalty: Penalty = why(1.1, "Above 1 the model avoids words it has just used.")
    num_predict: Annotated[int, whole(-2, 1_000_000)] = why(
        1024, "Longest answer in tokens; -1 sets no limit."
    )
    num_ctx: Annotated[int, whole(1, 100_000_000)] = why(
        8192, "Tokens of prompt and answer together; more takes more of Ollama's memory."
    )
    num_threads: Annotated[int | None, optional(whole(1, 4096))] = why(
        None, "Processor threads of the model; null lets Ollama choose."
    )
    keep_alive: Annotated[
        str | int | float,
        Allowed('a time such as "10m" or "1h30m", or a number of seconds', duration),
    ] = why("10m", "How long Ollama keeps the model loaded after an answer; -1 is for ever.")
    think: Annotated[
        bool | Literal["low", "medium", "high"],
        Allowed("true, false, low, medium or high", thinking),
    ] = why(False, "Let a thinking model think first: better answers that begin later.")
    connect_timeout: Seconds = why(3, "Seconds to wait for Ollama to take a connection.")
    read_timeout: Seconds = why(
        300, "Longest silence in seconds between two pieces, loading the model included."
    )

    @property
    def options(self) -> dict[str, float]:
        """The options of a chat under Ollama's names, without those that are left to Ollama."""
        options = self.model_dump(
            include={"temperature", "top_p", "top_k", "repeat_penalty", "num_predict", "num_ctx"}
        )
        return options if self.num_threads is None else {**options, "num_thread": self.num_threads}


class EmbeddingConfig(Section):
    """How documents and questions become vectors."""

    provider: OneOf[Literal["ollama", "lexical"]] = why(
        "ollama", '"ollama" compares meaning, "lexical" compares words and needs no model.'
    )
    batch_size: Count = why(32, "Texts in one embedding call while documents are loaded.")
    concurrency: Annotated[int, whole(1, 64)] = why(
        2, "Embedding calls at once while documents are loaded."
    )
    chunk_chars: Annotated[int, whole(100, 100_000)] = why(
        1200, "Longest passage in characters that a document is split into."
    )
    chunk_overlap: Annotated[int, whole(0, 50_000)] = Field(
        default=150,
        validate_default=True,
        description="Characters a passage shares with the one before, so that no sentence is lost.",
    )

    @field_validator("chunk_overlap", mode="after")
    @classmethod
    def _leaves_room_for_new_text(cls, overlap: int, info: ValidationInfo) -> int:
        chunk_chars = info.data.get("chunk_chars")
        if chunk_chars is not None and overlap >= chunk_chars / 2:
            raise refusal(f"less than half of embedding.chunk_chars, which is {chunk_chars}")
        return overlap


class RetrievalConfig(Section):
    """Which passages an answer is made from."""

    top_k: Annotated[int, whole(1, 100)] = why(5, "Passages at most that an answer is made from.")
    candidates: Annotated[int, whole(1, 1000)] = why(
        40, "Passages that each search, by meaning and by words, proposes."
    )
    dense_weight: Annotated[float | None, optional(number(0, 1))] = why(
        None, "Share of meaning (1) against words (0) in the order; null fits the embedder."
    )
    path: Text = why("data/lexical", "Folder of the word indexes, one file a collection.")


class AnswerConfig(Section):
    """How a question is answered."""

    provider: OneOf[Literal["ollama", "extractive"]] = why(
        "ollama", '"ollama" words an answer, "extractive" quotes the best passages.'
    )
    condense: Switch = why(
        True, "Let the model make a follow-up question whole before documents are searched."
    )
    system_prompt: OptionalText = why(
        None, "What the model is told about its task; null for the built-in text."
    )
    no_results_message: Text = why(
        "I could not find anything about that in the documents.",
        "The answer when nothing in the documents fits the question.",
    )


class ChatConfig(Section):
    """What POST /chat accepts and how it streams."""

    stream_format: OneOf[Literal["delta", "cumulative"]] = why(
        "delta", '"delta" sends new text only, "cumulative" all text so far, for old clients.'
    )
    max_message_chars: Annotated[int, whole(1, 60_000)] = why(
        4000, "Longest question in characters."
    )
    history_turns: Annotated[int, whole(0, 1000)] = why(
        6, "Earlier questions of a chat that the model is shown; 0 for none."
    )
    head_timeout: Seconds = why(5, "Seconds in which a failure can still become an HTTP status.")
    ping_seconds: Annotated[float, number(1, 3600, what="a number of seconds")] = why(
        15, "Seconds between signs of life while the model is silent."
    )


class ApiKeysConfig(Section):
    """Who may ask."""

    header_name: Annotated[
        str, matching(TOKEN, "a header name: letters, digits and - without spaces")
    ] = why("X-API-Key", "Header in which clients send their key.")
    prefix: Annotated[
        str, matching("[A-Za-z0-9._-]{1,32}", "1 to 32 letters, digits, dots, - and _")
    ] = why("api_", "How new keys begin, so that a lost one is recognised.")
    allow_default: Switch = why(False, "Answer requests without a key, from chroma.collection.")
    require_for_health: Switch = why(
        False, "Ask for a key at GET /health too; load balancers have none."
    )


class DatabaseConfig(Section):
    """Where API keys are kept."""

    url: Annotated[
        str,
        Allowed(
            "an SQLAlchemy URL with an async driver, such as sqlite+aiosqlite:///data/orbit.db",
            matching("[a-z][a-z0-9_+]*://\\S*", "").read,
            secret=True,
        ),
    ] = why(
        "sqlite+aiosqlite:///data/orbit.db",
        "Database of the API keys; several servers need one they all reach.",
    )


class WebConfig(Section):
    """Pages of other sites that use this server."""

    cors_origins: Annotated[
        tuple[str, ...], listed('origins, such as https://example.org, or "*" for all', origin)
    ] = why(("*",), "Sites whose pages may ask from a browser; best narrowed to your own.")


class SafetyConfig(Section):
    """Which questions are refused before they are answered."""

    enabled: OptionalSwitch = why(None, "false switches the check off; null leaves it to the mode.")
    mode: OneOf[Literal["disabled", "fuzzy", "strict"]] = why(
        "disabled", '"strict" takes only the exact verdict for safe, "fuzzy" also near ones.'
    )
    model: Text = why("gemma3:12b", "Model that judges the questions.")
    prompt_file: OptionalText = why(
        None, "Text file with the judge's instructions; null for the built-in ones."
    )
    max_retries: Annotated[int, whole(0, 100)] = why(
        3, "How often a failed judgement is tried again."
    )
    retry_delay: Pause = why(1.0, "Seconds between two tries.")
    request_timeout: Seconds = why(15, "Seconds one judgement may take.")
    allow_on_timeout: Switch = why(False, "Let a question through when no judgement came in time.")
    temperature: Temperature = why(0.0, "0, so that the same question gets the same verdict.")
    top_p: Share = why(1.0, "As ollama.top_p, for the judge.")
    top_k: Candidates = why(1, "As ollama.top_k, for the judge.")
    num_predict: Annotated[int, whole(1, 100_000)] = why(
        20, "Tokens of a verdict; a judge that thinks first needs more."
    )
    repeat_penalty: Penalty = why(1.1, "As ollama.repeat_penalty, for the judge.")
    blocklist: OptionalText = why(
        None, "Text file of phrases and /expressions/ that are refused without a model."
    )
    categories: Annotated[tuple[str, ...], listed("texts", plain_text)] = why(
        (), "Codes of llama-guard3 (S1 to S14) that block; empty for all."
    )

    @property
    def active(self) -> bool:
        """Whether questions are checked at all."""
        return self.mode != "disabled" and self.enabled is not False


class RerankerConfig(Section):
    """A second look at the order of the passages."""

    enabled: Switch = why(False, "Let a model put the passages in order: better and slower.")
    model: Text = why("gemma3:4b", "Model that rates the passages.")
    top_n: Annotated[int, whole(1, 100)] = why(3, "Passages that remain for the answer.")
    batch_size: Count = why(5, "Passages rated at once.")
    temperature: Temperature = why(0.0, "0, so that the same passages get the same order.")
    timeout: Seconds = why(5, "Seconds it may take; then the first order is used.")


class ElasticsearchAuthConfig(Section):
    """Who we are to Elasticsearch."""

    username: OptionalText = why(None, "User, best written as ${ELASTICSEARCH_USERNAME}.")
    password: OptionalSecret = why(None, "Password, best written as ${ELASTICSEARCH_PASSWORD}.")


class ElasticsearchConfig(Section):
    """A searchable copy of the chat log."""

    enabled: Switch = why(False, "Copy the chat log to Elasticsearch; the files are kept too.")
    node: Annotated[
        str,
        Allowed(
            "a URL such as https://localhost:9200; user and password belong in elasticsearch.auth",
            http_url_without_user,
        ),
    ] = why("https://localhost:9200", "Where Elasticsearch answers.")
    index: Annotated[
        str, matching("[a-z0-9][a-z0-9._-]{0,200}", "a name of small letters, digits, ., _ and -")
    ] = why("chatbot", "How the names of the indices begin.")
    data_stream: Annotated[
        str | None,
        optional(
            matching("[a-z0-9][a-z0-9._-]{0,200}", "a name of small letters, digits, ., _, -")
        ),
    ] = why(None, "A data stream instead of monthly indices; a resend may then store twice.")
    auth: ElasticsearchAuthConfig = section(ElasticsearchAuthConfig)
    api_key: OptionalSecret = why(None, "API key instead of a user, best written as ${VARIABLE}.")
    ca_certs: OptionalText = why(None, "File with the certificate authority of Elasticsearch.")
    verify_certs: Switch = why(True, "false trusts whoever answers; for trials only.")
    retention_days: Annotated[int | None, optional(whole(1, 36_500))] = why(
        None, "Days after which Elasticsearch removes old indices; null keeps them."
    )
    batch_size: Annotated[int, whole(1, 10_000)] = why(500, "Records sent in one request at most.")
    flush_seconds: Seconds = why(2, "How long a record may wait for others to be sent with.")
    checkpoint: Text = why("data/shipper.json", "File that tells how far the chat log was sent.")


class Config(Section):
    """Everything; ``Config()`` is all defaults. Excluded fields come from elsewhere."""

    general: GeneralConfig = section(GeneralConfig)
    logging: LoggingConfig = section(LoggingConfig)
    metrics: MetricsConfig = section(MetricsConfig)
    chroma: ChromaConfig = section(ChromaConfig)
    ollama: OllamaConfig = section(OllamaConfig)
    embedding: EmbeddingConfig = section(EmbeddingConfig)
    retrieval: RetrievalConfig = section(RetrievalConfig)
    answer: AnswerConfig = section(AnswerConfig)
    chat: ChatConfig = section(ChatConfig)
    api_keys: ApiKeysConfig = section(ApiKeysConfig)
    database: DatabaseConfig = section(DatabaseConfig)
    web: WebConfig = section(WebConfig)
    safety: SafetyConfig = section(SafetyConfig)
    reranker: RerankerConfig = section(RerankerConfig)
    elasticsearch: ElasticsearchConfig = section(ElasticsearchConfig)
    admin_token: Annotated[
        SecretStr | None,
        optional(Allowed("16 or more ASCII characters without spaces", token, secret=True)),
    ] = Field(
        default=None,
        exclude=True,
        description="Opens the admin routes; comes from the variable ADMIN_TOKEN only.",
    )
    warnings: tuple[str, ...] = Field(
        default=(),
        exclude=True,
        description="What the operator should know although it is allowed.",
    )

    @field_validator("api_keys", mode="after")
    @classmethod
    def _default_has_a_collection(cls, keys: ApiKeysConfig, info: ValidationInfo) -> ApiKeysConfig:
        chroma = info.data.get("chroma")
        if keys.allow_default and chroma is not None and chroma.collection is None:
            words = "false unless chroma.collection names the collection to answer from"
            raise refusal(words, key="allow_default")
        return keys
