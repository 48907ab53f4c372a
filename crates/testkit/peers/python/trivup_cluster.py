"""Stands for trivup.clusters.KafkaCluster, which starts brokers from archives that it downloads: ours run already."""

import os

import pytest


class KafkaCluster:
    def __init__(self, **conf):
        if "sasl_mechanism" in conf:
            pytest.skip("needs a cluster with SASL and ACLs")
        if conf.get("cp_version", "7.6.0") != "7.6.0":
            pytest.skip("needs an old schema registry")
        self.sr = {"url": os.environ["SR_URL"]}

    def wait_operational(self):
        pass

    def client_conf(self):
        return {"bootstrap.servers": os.environ["TWINSTREAM_BOOTSTRAP"], "broker.address.family": "v4"}

    def stop(self, cleanup=False):
        pass
