"""Pieces of router configs."""

from __future__ import annotations

CHAT = """
[[model]]
name = "chat"
aliases = ["chat-latest"]
"""

EMBED = """
[[model]]
name = "embed"
kind = "embed"
"""


def simulated(name: str, *, tenure: str = "owned", region: str = "here", count: int = 2, extra: str = "") -> str:
    """A pool of engines inside the router that serves both models."""
    price = 0.0 if tenure == "owned" else 2.0
    return f"""
[[pool]]
name = "{name}"
kind = "simulated"
tenure = "{tenure}"
region = "{region}"
{extra}

  [[pool.offer]]
  model = "chat"
  context = 131072
  input = {price}
  output = {price * 4}

  [[pool.offer]]
  model = "embed"
  input = {price / 10}

  [[pool.engine]]
  preset = "embedder"
  count = {count}
"""


def openai(name: str, ports: list[int], *, tenure: str = "metered", order: int = 0, extra: str = "") -> str:
    """A pool of servers on loopback that speak OpenAI's dialect."""
    price = 0.0 if tenure == "owned" else 1.0
    endpoints = ", ".join(f'"http://127.0.0.1:{port}"' for port in ports)
    return f"""
[[pool]]
name = "{name}"
kind = "openai"
tenure = "{tenure}"
endpoints = [{endpoints}]
allow_private = true
order = {order}
{extra}

  [[pool.offer]]
  model = "chat"
  input = {price}
  output = {price * 4}
"""


# Two pools inside the router, no network: what the faces are tried against.
TWO_POOLS = CHAT + EMBED + simulated("owned") + simulated("cloud", tenure="metered", region="there")

# One pool, for a process that stands for an endpoint of somebody's pool.
ENGINES = CHAT + EMBED + simulated("engines", count=1)

# The order of the pools decides, so that a test knows who is asked first.
ORDERED = """
[routing]
policy = "ordered"
"""
