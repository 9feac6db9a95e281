"""Every setting: its default, what is allowed, and its meaning.

The descriptions are repeated word for word by ``config.yaml.example`` and
``docs/configuration.md``.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from ..types import StreamFormat
from .addresses import (
    HOST,
    ROOT_PATH,
    TOKEN,
    Network,
    OllamaUrl,
    database_url,
    header_map,
    host_name,
    http_url_without_user,
    limits_storage,
    link_map,
    network,
    ollama_host_url,
    origin,
    own_header_map,
    proxy_url,
    sqlite_file,
)
from .section import Section, rare, section, setting
from .values import (
    Allowed,
    Candidates,
    Count,
    Distance,
    File,
    Folder,
    Limit,
    NamesPath,
    OneOf,
    OptionalFile,
    OptionalFolder,
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
    listed,
    matching,
    number,
    optional,
    plain_text,
    redaction,
    refusal,
    thinking,
    time_zone,
    token,
    whole,
)


class HttpsConfig(Section):
    """HTTPS without a proxy in front."""

    enabled: Switch = setting(False, "Serve HTTPS directly, when no proxy in front does.")
    port: Port = setting(3443, "Port for HTTPS.")
    cert_file: File = setting("./cert.pem", "Certificate chain (PEM).")
    key_file: File = setting("./key.pem", "Private key (PEM) of the certificate.")
    redirect_http: Switch = setting(
        False, "Listen on general.port too, and redirect requests there to HTTPS."
    )


class GeneralConfig(Section):
    """The server itself."""

    host: Annotated[str, Allowed("a host name or address alone, such as 0.0.0.0", host_name)] = (
        setting(
            "0.0.0.0",
            'Address to listen on: "127.0.0.1" accepts connections from this machine only.',
        )
    )
    port: Port = setting(3000, "Port for HTTP; clients expect 3000.")
    verbose: Switch = rare(False, "Log more: the same as logging.level DEBUG.")
    trusted_proxies: Annotated[
        tuple[Network, ...],
        listed("IP addresses and networks, such as 127.0.0.1 or 10.0.0.0/8", network),
    ] = setting(
        (), "Proxies whose X-Forwarded-For and -Prefix are trusted; others could forge them."
    )
    root_path: Annotated[str | None, optional(ROOT_PATH)] = setting(
        None, "Path at which clients reach this server behind a proxy, such as /orbit."
    )
    drain_seconds: Pause = setting(
        30, "Seconds that running answers have to finish when the server stops."
    )
    no_results_message_file: OptionalText = rare(
        None, "Text file whose content replaces answer.no_results_message."
    )
    safety_prompt_file: OptionalText = rare(
        None, "Older name of safety.prompt_file, which takes precedence."
    )
    acme_dir: OptionalFolder = setting(
        None, "Webroot with certbot's challenge files, served over HTTP on general.port."
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

    enabled: Switch = setting(
        True, "Write the server's own log to a file; chats are always written."
    )
    directory: Folder = setting("logs", "Folder of all log files, including the chat log.")
    max_size_mb: Annotated[float, number(0, 10_000, above=True)] = setting(
        20, "Size in megabytes at which a day's chat log continues in a new file."
    )
    retention_days: Annotated[int, whole(1, 36_500)] = setting(
        14, "Days after which chat logs are removed, unless they are still to be shipped."
    )
    max_wait_ms: Annotated[float, number(0, 60_000)] = rare(
        50, "Milliseconds at most that the end of an answer waits for its log line to be written."
    )


class ConsoleConfig(Section):
    """The log on the terminal."""

    enabled: Switch = setting(True, "Log to the terminal (standard error).")
    format: OneOf[Literal["text", "json"]] = setting(
        "text", '"text" for people, "json" for a collector of container logs.'
    )


class LoggingConfig(Section):
    """What the server logs."""

    level: OneOf[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]] = setting(
        "INFO", "Lowest level of messages that are logged."
    )
    file: LogFileConfig = section(LogFileConfig)
    console: ConsoleConfig = section(ConsoleConfig)
    timezone: Annotated[str, Allowed("a time zone such as UTC or Europe/Vienna", time_zone)] = (
        setting("UTC", "Time zone of the days of the chat log; times in it are always UTC.")
    )
    redact: Annotated[
        tuple[str, ...],
        listed("email, phone, card, iban, or regular expressions between slashes", redaction),
    ] = setting((), "Kinds of personal data that are redacted before a chat is written.")
    include_prompts: Switch = setting(False, "Log whole prompts too, at level DEBUG.")


class MetricsConfig(Section):
    """Metrics for a monitoring system."""

    public: Switch = setting(False, "Serve /metrics without the admin token.")


class ChromaConfig(Section):
    """Where the documents are stored and searched."""

    host: Annotated[str | None, optional(HOST)] = setting(
        None, "Host of a Chroma server; null runs Chroma inside this process."
    )
    port: Port = setting(8000, "Port of the Chroma server.")
    path: Folder = setting(
        "data/chroma", "Folder of the documents when Chroma runs inside this process."
    )
    ssl: Switch = setting(False, "Use HTTPS to the Chroma server.")
    headers: Annotated[
        dict[str, SecretStr], Allowed("a mapping of header names to texts", header_map, secret=True)
    ] = setting({}, "Headers the Chroma server requires, such as x-chroma-token: ${CHROMA_TOKEN}.")
    tenant: Text = setting("default_tenant", "Tenant on a shared Chroma server.")
    database: Text = setting(
        "default_database", "Database of that tenant that holds the documents."
    )
    timeout: Seconds = setting(10, "Seconds the Chroma server may take for one request.")
    collection: OptionalText = setting(
        None, "Collection for requests without a key (api_keys.allow_default)."
    )
    confidence_threshold: Distance = setting(
        None, "Minimum relevance of the best passage; null lets the server decide."
    )
    relevance_threshold: Distance = setting(
        None, "Minimum relevance of any passage; null lets the server decide."
    )


class OllamaHost(Section):
    """One of several Ollama servers."""

    url: Annotated[
        str,
        Allowed(
            "a URL such as http://gpu1:11434, without user, /api or /v1; passwords belong in"
            " headers",
            ollama_host_url,
        ),
    ] = Field(description="Its address.")
    headers: Annotated[
        dict[str, SecretStr],
        Allowed("a mapping of header names to texts", own_header_map, secret=True),
    ] = setting({}, "Headers that a proxy in front of it requires.")
    proxy: Annotated[
        SecretStr | None,
        optional(Allowed("the http(s) URL of a proxy", proxy_url, secret=True)),
    ] = setting(None, "HTTP proxy to reach it through.")
    weight: Annotated[float | None, optional(number(0, 10_000, above=True))] = setting(
        None, "Its share of the calls against the other hosts; null takes its concurrency."
    )
    concurrency: Annotated[int | None, optional(whole(0, 10_000))] = setting(
        None, "Concurrent answers there; null takes ollama.concurrency."
    )


class OllamaConfig(Section):
    """The language model's server, and how it writes answers."""

    base_url: OllamaUrl = setting(
        "http://localhost:11434", "Address of Ollama, without /api or /v1 at the end."
    )
    hosts: tuple[OllamaHost, ...] = setting(
        (),
        "Several servers instead of base_url, each with url, headers, proxy, weight, concurrency.",
    )
    model: Text = setting("gemma3:4b", "Model that writes the answers.")
    embed_model: Text = setting(
        "bge-m3", "Model that turns texts into vectors; after a change, load the documents again."
    )
    temperature: Temperature = setting(
        0.1, "0 gives repeatable answers close to the documents, 1 is inventive."
    )
    top_p: Share = setting(
        0.8, "Sample only from the likeliest tokens that together reach this probability."
    )
    top_k: Candidates = setting(
        20, "Sample each token from at most this many candidates; 0 for all."
    )
    repeat_penalty: Penalty = setting(1.1, "Above 1, the model avoids words it has just used.")
    num_predict: Annotated[int, whole(-2, 1_000_000)] = setting(
        1024, "Longest answer in tokens; -1 sets no limit."
    )
    num_ctx: Annotated[int, whole(1, 100_000_000)] = setting(
        8192, "Context window: tokens of prompt and answer together; more takes more memory."
    )
    num_threads: Annotated[int | None, optional(whole(1, 4096))] = setting(
        None, "CPU threads for the model; null lets Ollama choose."
    )
    keep_alive: Annotated[
        str | int | float,
        Allowed('a time such as "10m" or "1h30m", or a number of seconds', duration),
    ] = setting("10m", "How long Ollama keeps the model loaded after an answer; -1 means forever.")
    think: Annotated[
        bool | Literal["low", "medium", "high"],
        Allowed("true, false, low, medium or high", thinking),
    ] = setting(False, "Let a thinking model think first: better answers that begin later.")
    connect_timeout: Seconds = setting(3, "Seconds to wait for Ollama to accept a connection.")
    read_timeout: Seconds = setting(
        300, "Longest pause in seconds between two pieces of text, loading the model included."
    )
    first_token_timeout: Seconds = rare(
        60,
        "Seconds for an answer to begin, model loading included; then another host is asked.",
    )
    concurrency: Annotated[int, whole(0, 10_000)] = setting(
        4, "Concurrent answers, best OLLAMA_NUM_PARALLEL of Ollama or a few more; 0 for no limit."
    )
    queue: Annotated[int, whole(0, 100_000)] = setting(
        64, "Answers that may wait in the queue, keys taking turns; more are refused as busy."
    )
    queue_timeout: Seconds = rare(120, "Seconds an answer may wait in the queue.")

    @field_validator("hosts", mode="before")
    @classmethod
    def _are_hosts(cls, hosts: Any) -> Any:
        if hosts is None:
            return ()
        if not isinstance(hosts, list | tuple) or not all(map(_is_host, hosts)):
            known = ", ".join(OllamaHost.model_fields)
            raise refusal(f"a list of hosts, each with a url and, if wanted, {known}", secret=True)
        return tuple(hosts)

    @field_validator("hosts", mode="after")
    @classmethod
    def _are_different(cls, hosts: tuple[OllamaHost, ...]) -> tuple[OllamaHost, ...]:
        if len({host.url for host in hosts}) < len(hosts):
            raise refusal("a list of different hosts: two have the same url", secret=True)
        return hosts

    @property
    def servers(self) -> tuple[OllamaHost, ...]:
        """The servers that are used: ``hosts``, or the one at ``base_url``."""
        return self.hosts or (OllamaHost.model_construct(url=self.base_url),)

    @property
    def addresses(self) -> str:
        """Where the models are, in words for the operator."""
        return ", ".join(server.url for server in self.servers)

    def places(self, server: OllamaHost) -> int:
        """Return how many answers may be written at once at ``server``; 0 for any number."""
        return self.concurrency if server.concurrency is None else server.concurrency

    @property
    def options(self) -> dict[str, float]:
        """The options of a chat under Ollama's names, without those that are left to Ollama."""
        options = self.model_dump(
            include={"temperature", "top_p", "top_k", "repeat_penalty", "num_predict", "num_ctx"}
        )
        return options if self.num_threads is None else {**options, "num_thread": self.num_threads}


def _is_host(value: Any) -> bool:
    if isinstance(value, OllamaHost):
        return True
    return (
        isinstance(value, dict)
        and "url" in value
        and value.keys() <= OllamaHost.model_fields.keys()
    )


class EmbeddingConfig(Section):
    """How documents and questions become vectors."""

    provider: OneOf[Literal["ollama", "lexical"]] = setting(
        "ollama", '"ollama" compares meaning, "lexical" compares words and needs no model.'
    )
    batch_size: Count = setting(32, "Texts in one embedding call while documents are loaded.")
    concurrency: Annotated[int, whole(1, 64)] = rare(
        2, "Concurrent embedding calls while documents are loaded."
    )
    chunk_chars: Annotated[int, whole(100, 100_000)] = setting(
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

    top_k: Annotated[int, whole(1, 100)] = setting(
        5, "Maximum number of passages that an answer is made from."
    )
    candidates: Annotated[int, whole(1, 1000)] = setting(
        40, "Passages that each search, by meaning and by words, contributes."
    )
    dense_weight: Annotated[float | None, optional(number(0, 1))] = setting(
        None, "Weight of meaning (1) against words (0) in the ranking; null is half and half."
    )
    words: OneOf[Literal["local", "elasticsearch"]] = setting(
        "local", '"local" keeps word indexes in files, "elasticsearch" shares them with replicas.'
    )
    path: Folder = setting(
        "data/lexical", "Folder of the word indexes, with a subfolder for each collection."
    )


class AnswerConfig(Section):
    """How a question is answered."""

    provider: OneOf[Literal["ollama", "extractive"]] = setting(
        "ollama", '"ollama" writes an answer, "extractive" quotes the best passages.'
    )
    condense: Switch = setting(
        True, "Let the model rewrite a follow-up question as a complete one before the search."
    )
    system_prompt: OptionalText = setting(
        None, "Instructions to the model; null for the built-in ones."
    )
    no_results_message: Text = setting(
        "I could not find anything about that in the documents.",
        "The answer when nothing in the documents fits the question.",
    )
    small_talk: OneOf[Literal["sentence", "model", "search"]] = setting(
        "sentence",
        '"Hi" and "thanks" get a "sentence", a reply of the "model", or a "search" like questions.',
    )
    greeting: OptionalText = setting(
        None, "The sentence for a greeting; null for one in the language of the greeting."
    )
    about: OptionalText = setting(
        None, 'The sentence for "Who are you?" and the like; null for one in its language.'
    )


class ChatConfig(Section):
    """What POST /chat accepts and how it streams."""

    stream_format: OneOf[StreamFormat] = setting(
        "delta", '"delta" sends new text only, "cumulative" all text so far, for old clients.'
    )
    max_message_chars: Annotated[int, whole(1, 60_000)] = setting(
        4000, "Longest question in characters."
    )
    history_turns: Annotated[int, whole(0, 1000)] = setting(
        6, "Earlier questions of a chat that go into the prompt; 0 for none."
    )
    head_timeout: Seconds = rare(
        5, "Seconds to wait for the first text, while a failure can still be an HTTP status."
    )
    ping_seconds: Annotated[float, number(1, 3600, what="a number of seconds")] = setting(
        15, "Seconds between pings while the model is silent."
    )


class OpenaiConfig(Section):
    """What POST /v1/chat/completions adds for OpenAI's clients."""

    sources: OneOf[Literal["text", "field"]] = setting(
        "text", '"text" ends an answer with a list of its sources, "field" sends them as data only.'
    )
    accept_system: Switch = setting(
        False, "Pass the caller's system messages on to the model, after answer.system_prompt."
    )


class ApiKeysConfig(Section):
    """Who has access."""

    header_name: Annotated[
        str, matching(TOKEN, "a header name: letters, digits and - without spaces")
    ] = setting("X-API-Key", "Header that carries a client's key.")
    prefix: Annotated[
        str, matching("[A-Za-z0-9._-]{1,32}", "1 to 32 letters, digits, dots, - and _")
    ] = setting("api_", "Prefix of new keys, by which a leaked one is recognised.")
    allow_default: Switch = setting(False, "Answer requests without a key, from chroma.collection.")
    require_for_health: Switch = setting(
        False, "Require a key for GET /health too; load balancers have none."
    )


class LimitsConfig(Section):
    """Limits of all keys that have none of their own; 0 means no limit."""

    requests_per_minute: Limit = setting(0, "Requests per minute with one key.")
    requests_per_day: Limit = setting(0, "Requests per day (UTC) with one key.")
    streams: Limit = setting(0, "Concurrent answers with one key.")
    visitor_per_minute: Limit = setting(
        0, "Requests per minute with one key from one address (IPv6: from one /64)."
    )
    wrong_keys_per_minute: Limit = setting(
        30,
        "Wrong keys per minute from one address; beyond that, only right ones are let in.",
    )
    storage: Annotated[
        str,
        Allowed(
            '"memory", or the URL of a Redis such as redis://:password@host:6379/0',
            limits_storage,
            secret=True,
        ),
    ] = setting(
        "memory", 'Where limits are counted: "memory", or a Redis URL that several servers share.'
    )


class DatabaseConfig(Section):
    """Where API keys are kept."""

    url: Annotated[
        str,
        Allowed(
            "an SQLAlchemy URL such as sqlite+aiosqlite:///data/orbit.db"
            " or postgresql://user:password@host/orbit",
            database_url,
            secret=True,
        ),
        NamesPath(path=sqlite_file),
    ] = setting(
        "sqlite+aiosqlite:///data/orbit.db",
        "Database of the API keys; several servers need one that all can reach.",
    )


class WebConfig(Section):
    """Browsers: cross-origin requests (CORS), and the chat page."""

    cors_origins: Annotated[
        tuple[str, ...], listed('origins, such as https://example.org, or "*" for all', origin)
    ] = setting(
        ("*",), "Sites that may call the server from a browser; best restricted to your own."
    )
    page: Switch = setting(True, "Show the chat page at the server's address.")
    page_key: OptionalSecret = setting(
        None, "API key for all visitors of the chat page, who can read it: give it limits."
    )
    title: Text = setting("ORBIT server", "Title of the chat page.")
    greeting: OptionalText = setting(
        None, "Text above an empty chat, in Markdown; null for a sentence in the reader's language."
    )
    examples: Annotated[tuple[str, ...], listed("questions", plain_text)] = setting(
        (), "Questions that the chat page offers as buttons."
    )
    color: Annotated[
        str | None, optional(matching("#[0-9A-Fa-f]{6}", 'a color such as "#1f5fa8"'))
    ] = setting(None, "Color of buttons and questions on the chat page, as #rrggbb.")
    logo_file: OptionalFile = setting(
        None, "Image file (.svg, .png, .jpg, .webp) beside the title; null for none."
    )
    links: Annotated[
        dict[str, str], Allowed("a mapping of labels to http(s) addresses", link_map)
    ] = setting({}, "Links below the chat, such as legal notice and privacy.")
    language: OneOf[Literal["auto", "en", "de", "fr", "es"]] = setting(
        "auto", "Language of the chat page's own texts; auto takes the reader's."
    )


class SafetyConfig(Section):
    """Which questions are refused before they are answered."""

    enabled: OptionalSwitch = rare(
        None, "false switches the check off; null leaves it to the mode."
    )
    mode: OneOf[Literal["disabled", "fuzzy", "strict"]] = setting(
        "disabled", '"strict" accepts only the exact verdict for safe, "fuzzy" also similar ones.'
    )
    model: Text = setting("gemma3:12b", "Model that moderates the questions.")
    prompt_file: OptionalFile = setting(
        None, "Text file with instructions for the moderator; null for the built-in ones."
    )
    max_retries: Annotated[int, whole(0, 100)] = setting(
        3, "How often a failed moderation call is tried again."
    )
    retry_delay: Pause = setting(1.0, "Seconds between two attempts.")
    request_timeout: Seconds = setting(15, "Seconds one moderation call may take.")
    allow_on_timeout: Switch = setting(
        False, "Let a question through when no verdict came in time."
    )
    temperature: Temperature = setting(0.0, "0, so that the same question gets the same verdict.")
    top_p: Share = rare(1.0, "Like ollama.top_p, for the moderator.")
    top_k: Candidates = rare(1, "Like ollama.top_k, for the moderator.")
    num_predict: Annotated[int, whole(1, 100_000)] = setting(
        20, "Tokens of a verdict; a model that thinks first needs more."
    )
    repeat_penalty: Penalty = rare(1.1, "Like ollama.repeat_penalty, for the moderator.")
    blocklist: OptionalFile = setting(
        None, "Text file of phrases and /expressions/ that are refused without a model."
    )
    categories: Annotated[tuple[str, ...], listed("texts", plain_text)] = setting(
        (), "Codes of llama-guard3 (S1 to S14) that block; empty for all."
    )

    @property
    def active(self) -> bool:
        """Whether questions are checked at all."""
        return self.mode != "disabled" and self.enabled is not False


class RerankerConfig(Section):
    """Reordering the passages with a model."""

    enabled: Switch = setting(False, "Let a model rerank the passages: better and slower.")
    model: Text = setting("gemma3:4b", "Model that rates the passages.")
    top_n: Annotated[int, whole(1, 100)] = setting(3, "Passages that remain for the answer.")
    batch_size: Count = setting(5, "Passages rated concurrently.")
    temperature: Temperature = rare(0.0, "0, so that the same passages get the same order.")
    timeout: Seconds = setting(5, "Seconds it may take; then the order of the search is used.")


class ElasticsearchAuthConfig(Section):
    """Credentials for Elasticsearch."""

    username: OptionalText = setting(None, "User, best written as ${ELASTICSEARCH_USERNAME}.")
    password: OptionalSecret = setting(None, "Password, best written as ${ELASTICSEARCH_PASSWORD}.")


class ElasticsearchConfig(Section):
    """Elasticsearch: a searchable copy of the chat log, and the words of retrieval.words."""

    enabled: Switch = setting(False, "Copy the chat log to Elasticsearch; the files are kept too.")
    node: Annotated[
        str,
        Allowed(
            "a URL such as https://localhost:9200; user and password belong in elasticsearch.auth",
            http_url_without_user,
        ),
    ] = setting("https://localhost:9200", "Address of Elasticsearch.")
    index: Annotated[
        str,
        matching("[a-z0-9][a-z0-9._-]{0,200}", "a name of lowercase letters, digits, ., _ and -"),
    ] = setting("chatbot", "Prefix of the index names.")
    data_stream: Annotated[
        str | None,
        optional(
            matching("[a-z0-9][a-z0-9._-]{0,200}", "a name of lowercase letters, digits, ., _, -")
        ),
    ] = setting(
        None,
        "A data stream instead of monthly indices; records sent again may then be stored twice.",
    )
    auth: ElasticsearchAuthConfig = section(ElasticsearchAuthConfig)
    api_key: OptionalSecret = setting(
        None, "API key instead of a user, best written as ${VARIABLE}."
    )
    ca_certs: OptionalFile = setting(None, "File with the certificate authority of Elasticsearch.")
    verify_certs: Switch = setting(True, "false accepts any certificate; for trials only.")
    words_index: Annotated[
        str,
        matching("[a-z0-9][a-z0-9._-]{0,100}", "a name of lowercase letters, digits, ., _ and -"),
    ] = setting("orbit-words", "Prefix of the word index names (retrieval.words).")
    words_timeout: Seconds = rare(
        0.3, "Seconds a question waits for words; then it is answered by meaning alone."
    )
    retention_days: Annotated[int | None, optional(whole(1, 36_500))] = setting(
        None, "Days after which Elasticsearch removes old indices; null keeps them."
    )
    batch_size: Annotated[int, whole(1, 10_000)] = rare(
        500, "Maximum number of records in one request."
    )
    flush_seconds: Seconds = rare(2, "Seconds a record may wait to be sent together with others.")
    checkpoint: File = setting(
        "data/shipper.json", "File that stores how far the chat log was sent."
    )


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
    openai: OpenaiConfig = section(OpenaiConfig)
    api_keys: ApiKeysConfig = section(ApiKeysConfig)
    limits: LimitsConfig = section(LimitsConfig)
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
