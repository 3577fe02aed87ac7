"""How channels to coordinators behave: name resolution, balancing, keepalive, proxies. One place for all of them.

Addresses and calls are made elsewhere.
"""

import json
import os
from typing import Any, Literal

from holdfast.limits import DEFAULT_LIMITS

PROXY_VARIABLE = "HOLDFAST_PROXY"

Balancing = Literal["round_robin", "pick_first"]


def channel_options(balancing: Balancing) -> list[tuple[str, Any]]:
    """The options of a channel.

    balancing: clients spread calls over all replicas, workers stay with one (pick_first, shuffled).
    """
    policy: dict[str, Any] = {"shuffleAddressList": True} if balancing == "pick_first" else {}
    return [
        ("grpc.max_send_message_length", DEFAULT_LIMITS.message_bytes),
        ("grpc.max_receive_message_length", DEFAULT_LIMITS.message_bytes),
        # A peer that vanished without a word is noticed after 15 s. The coordinator must allow pings this
        # often without data (grpc.http2.min_recv_ping_interval_without_data_ms at most 5000), or it hangs up.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # A lost connection asks DNS again, which by default waits until 30 s have passed since the answer before:
        # for that time all clients that have only addresses from before a rolling restart would reach no replica.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # Repeats are ours: grpc's own ones would hide how long a call has been trying.
        ("grpc.enable_retries", 0),
        # One TCP connection per channel: a heartbeat never queues behind a large report.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{balancing: policy}]})),
        *proxy_options(),
    ]


def proxy_options() -> list[tuple[str, Any]]:
    """Only HOLDFAST_PROXY, http://host:port, puts a proxy between us and the coordinator.

    gRPC by itself obeys http_proxy, https_proxy and grpc_proxy. They are set for the web; what they name seldom
    passes on HTTP/2 to an address inside the network, and the coordinator would look as if it were away.
    """
    proxy = os.environ.get(PROXY_VARIABLE, "")
    if not proxy:
        return [("grpc.enable_http_proxy", 0)]
    return [("grpc.enable_http_proxy", 1), ("grpc.http_proxy", proxy)]
