"""The word indexes in Elasticsearch, made from the configuration; nothing is opened."""

import base64

from ....config.schema import ElasticsearchConfig
from .client import ElasticsearchClient
from .indexes import ElasticsearchWords


def build(config: ElasticsearchConfig) -> ElasticsearchWords:
    """Return the word indexes in the Elasticsearch that ``config`` names, whatever its switch."""
    return ElasticsearchWords(build_client(config), prefix=config.words_index)


def build_client(config: ElasticsearchConfig) -> ElasticsearchClient:
    """Return the client for words of the configured Elasticsearch."""
    authorization = None
    if config.api_key is not None:
        authorization = f"ApiKey {config.api_key.get_secret_value()}"
    elif config.auth.username is not None:
        password = config.auth.password.get_secret_value() if config.auth.password else ""
        user = f"{config.auth.username}:{password}".encode()
        authorization = f"Basic {base64.b64encode(user).decode()}"
    return ElasticsearchClient(
        config.node,
        authorization=authorization,
        ca_certs=config.ca_certs,
        verify_certs=config.verify_certs,
        question_seconds=config.words_timeout,
    )
