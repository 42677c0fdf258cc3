"""The commands as a person or a script meets them: what they print, where, and how they end."""

from __future__ import annotations

import re

import configs
from conftest import client
from processes import gridtie

BAD = """\
[routing]
policy = "cheapest"

[[model]]
name = "chat"

[[pool]]
name = "owned"
kind = "simulated"
tenure = "owned"
colour = "green"

  [[pool.offer]]
  model = "chatt"

  [[pool.engine]]
  preset = "h100"
"""


def test_a_good_config_is_checked_and_its_merit_order_shown(tmp_path):
    path = tmp_path / "good.toml"
    path.write_text(configs.TWO_POOLS)
    done = gridtie("check", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("owned") < done.stdout.index("cloud"), "the cheaper pool first"
    assert "chat" in done.stdout


def test_every_problem_of_a_bad_config_is_shown_with_its_line(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(BAD)
    done = gridtie("check", str(path))
    assert done.returncode == 2
    shown = done.stdout + done.stderr
    for line, word in [(2, "cheapest"), (11, "colour"), (14, "chatt")]:
        assert word in shown, shown
        # Either `bad.toml:2:10` or the line's number in the margin.
        assert re.search(rf"bad\.toml:{line}\b|^\s*{line}\s*\|", shown, re.MULTILINE), f"line {line}\n{shown}"
    assert "panicked" not in shown


def test_serving_a_bad_config_ends_at_once_with_the_same_words(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(BAD)
    done = gridtie("serve", "--config", str(path))
    assert done.returncode == 2
    assert "cheapest" in done.stdout + done.stderr


def test_a_config_that_is_not_there_is_said(tmp_path):
    done = gridtie("check", str(tmp_path / "nowhere.toml"))
    assert done.returncode == 2
    assert "nowhere.toml" in done.stdout + done.stderr


def test_status_shows_the_pools(router):
    done = router.run("status")
    assert done.returncode == 0, done.stderr
    for word in ("owned", "cloud", "healthy"):
        assert word in done.stdout.lower()


def test_drain_and_resume_are_seen_in_status(start):
    router = start(configs.TWO_POOLS)
    assert router.run("drain", "owned").returncode == 0
    assert "drained" in router.run("status").stdout.lower()
    with client(router) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(
            model="chat", messages=[{"role": "user", "content": "Hello."}], max_tokens=3
        )
    assert raw.headers["x-gridtie-pool"] == "cloud"
    assert router.run("resume", "owned").returncode == 0
    assert "drained" not in router.run("status").stdout.lower()


def test_draining_an_unknown_pool_fails_and_names_the_nearest(router):
    done = router.run("drain", "ownd")
    assert done.returncode != 0
    assert "owned" in done.stderr


def test_a_router_that_is_not_there_is_said_and_not_waited_for(router):
    done = gridtie("status", "--admin", "http://127.0.0.1:1")
    assert done.returncode != 0
    assert "127.0.0.1:1" in done.stderr
    assert "panicked" not in done.stderr


def test_explain_adds_up_dollars_from_a_config(tmp_path):
    path = tmp_path / "good.toml"
    path.write_text(configs.TWO_POOLS)
    done = gridtie("explain", "--config", str(path), "--model", "chat")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("owned") < done.stdout.index("cloud")
    assert "$" in done.stdout or "usd" in done.stdout.lower()


def test_explain_can_think_a_pool_away(tmp_path):
    path = tmp_path / "good.toml"
    path.write_text(configs.TWO_POOLS)
    done = gridtie("explain", "--config", str(path), "--model", "chat", "--without", "owned")
    assert done.returncode == 0, done.stderr
    assert "cloud" in done.stdout


def test_a_key_is_made_once_and_its_hash_opens_the_door(start):
    done = gridtie("key", "new", "--tenant", "team-a")
    assert done.returncode == 0, done.stderr
    key = re.search(r"\bgtk_[\w-]+", done.stdout)[0]
    digest = re.search(r"sha256:[0-9a-f]{64}", done.stdout)[0]
    auth = f'[auth]\n[[auth.key]]\ntenant = "team-a"\nhash = "{digest}"\n'
    router = start(auth + configs.TWO_POOLS)
    with client(router, api_key=key) as sdk:
        assert sdk.models.list().data


def test_commands_explain_themselves():
    shown = gridtie("--help")
    assert shown.returncode == 0
    for command in ("serve", "check", "status", "drain", "resume", "reload", "explain", "mock"):
        assert command in shown.stdout
    assert re.match(r"gridtie \d+\.\d+\.\d+", gridtie("--version").stdout)
    assert gridtie("no-such-command").returncode == 2
