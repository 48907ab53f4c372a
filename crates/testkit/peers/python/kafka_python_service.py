"""Stands for the file test/service.py of kafka-python, which its source distribution leaves out: brokers run already."""


class ExternalService:
    def __init__(self, host, port):
        self.host = host
        self.port = port

    def stop(self):
        pass

    def dump_logs(self):
        pass


class SpawnedService:
    def __init__(self, args=None, env=None):
        raise RuntimeError("tests that start brokers of their own are not run")
