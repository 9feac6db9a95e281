"""``ollama.hosts``: a list of mappings, read as strictly as any other section."""

import pytest
from pydantic import SecretStr

from orbit_server.config import Config
from orbit_server.errors import ConfigError

from ..support.configuration import read


def hosts(text: str, **environ: str) -> Config:
    return read(f"ollama:\n  hosts: {text}\n", environ)


def test_several_hosts_with_their_secrets() -> None:
    """Variables are put in, header values and proxies are never shown."""
    config = hosts(
        '[{url: "http://a:1/gpu/", headers: {Authorization: "Bearer ${T}"}, weight: 2},'
        " {url: https://b, proxy: 'http://u:hidden@p:3128', concurrency: 0}]",
        T="hidden",
    ).ollama
    assert [host.url for host in config.hosts] == ["http://a:1/gpu", "https://b"]
    assert config.hosts[0].headers == {"Authorization": SecretStr("Bearer hidden")}
    assert (config.hosts[0].weight, config.hosts[1].weight) == (2, None)
    assert [config.places(host) for host in config.servers] == [4, 0]
    assert config.addresses == "http://a:1/gpu, https://b"
    assert "hidden" not in repr(config)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://a:1", "a list of hosts, each with a url"),
        ("[http://a:1]", "a list of hosts, each with a url"),
        ("[{weight: 1}]", "a list of hosts, each with a url"),
        ("[{url: 'http://a', name: x}]", "a list of hosts, each with a url"),
        ("[{url: 'http://a'}, {url: 'http://a/'}]", "two have the same url"),
        ("[{url: 'http://a/v1'}]", "ollama.hosts.0.url: 'http://a/v1' is not allowed"),
        ("[{url: 'http://u:hidden@a'}]", "passwords belong in headers"),
        ("[{url: 'http://a'}, {url: 'http://b', weight: 0}]", "ollama.hosts.1.weight: 0 is not"),
        ("[{url: 'http://a', concurrency: -1}]", "ollama.hosts.0.concurrency: -1 is not"),
        ("[{url: 'http://a', headers: {X: \"hidden\\r\\nY: z\"}}]", "a mapping of header names"),
        ("[{url: 'http://a', headers: {Content-Length: hidden}}]", "a mapping of header names"),
        ("[{url: 'http://a', proxy: 'hidden'}]", "the http(s) URL of a proxy"),
    ],
)
def test_mistakes_in_hosts(text: str, said: str) -> None:
    """Each is said with its place, and no secret with it."""
    with pytest.raises(ConfigError) as raised:
        hosts(text)
    assert said in str(raised.value)
    assert "hidden" not in str(raised.value)
    assert "config.yaml:2" in str(raised.value)


def test_an_address_that_is_not_used_is_pointed_out() -> None:
    """With hosts, base_url means nothing."""
    text = "ollama: {base_url: 'http://x:1', hosts: [{url: 'http://a'}]}\n"
    assert any("base_url is not used" in each for each in read(text).warnings)
    assert not hosts("[{url: 'http://a'}]").warnings
