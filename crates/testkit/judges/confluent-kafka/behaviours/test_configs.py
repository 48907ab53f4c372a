"""Configs of topics, brokers, groups and loggers, with their sources."""

from conftest import WAIT_MAX, comes_to, error_name, unique
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, ResourceType


def described(admin, resource):
    return admin.describe_configs([resource])[resource].result(WAIT_MAX)


def change(admin, kind, name, *changes, **options):
    entries = [ConfigEntry(key, value, incremental_operation=operation) for key, operation, value in changes]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    return admin.incremental_alter_configs([resource], **options)[resource]


def source(entry):
    return ConfigSource(entry.source)


def test_a_topics_config_tells_where_each_value_comes_from(admin, topic):
    resource = ConfigResource(ResourceType.TOPIC, topic(retention_ms="60000"))
    configs = described(admin, resource)
    assert (configs["retention.ms"].value, source(configs["retention.ms"])) == (
        "60000",
        ConfigSource.DYNAMIC_TOPIC_CONFIG,
    )
    assert source(configs["cleanup.policy"]) == ConfigSource.DEFAULT_CONFIG
    assert configs["cleanup.policy"].is_default


def test_incremental_changes_touch_only_what_they_name(admin, topic):
    name = topic(retention_ms="60000", cleanup_policy="delete")
    append = ("cleanup.policy", AlterConfigOpType.APPEND, "compact")
    put = ("max.message.bytes", AlterConfigOpType.SET, "2048")
    change(admin, ResourceType.TOPIC, name, append, put).result(WAIT_MAX)
    read = lambda: described(admin, ConfigResource(ResourceType.TOPIC, name))
    comes_to(["compact", "delete"], lambda: sorted(read()["cleanup.policy"].value.split(",")))
    comes_to(("2048", "60000"), lambda: (read()["max.message.bytes"].value, read()["retention.ms"].value))
    change(admin, ResourceType.TOPIC, name, ("retention.ms", AlterConfigOpType.DELETE, None)).result(WAIT_MAX)
    comes_to(True, lambda: read()["retention.ms"].is_default)


def test_a_change_that_is_only_validated_changes_nothing(admin, topic):
    name = topic()
    put = ("retention.ms", AlterConfigOpType.SET, "1")
    change(admin, ResourceType.TOPIC, name, put, validate_only=True).result(WAIT_MAX)
    assert described(admin, ConfigResource(ResourceType.TOPIC, name))["retention.ms"].value == "604800000"


def test_impossible_changes_are_refused(admin, topic):
    name = topic()
    put = lambda key, value: error_name(change(admin, ResourceType.TOPIC, name, (key, AlterConfigOpType.SET, value)))
    assert put("retention.ms", "soon") == "INVALID_CONFIG"
    assert put("no.such.config", "1") == "INVALID_CONFIG"
    absent = change(admin, ResourceType.TOPIC, unique("absent"), ("retention.ms", AlterConfigOpType.SET, "1"))
    assert error_name(absent) == "UNKNOWN_TOPIC_OR_PART"


def test_a_brokers_dynamic_value_goes_before_the_default_of_the_cluster(admin):
    def value():
        entry = described(admin, ConfigResource(ResourceType.BROKER, "0"))["log.cleaner.threads"]
        return entry.value, source(entry)

    put = lambda value: ("log.cleaner.threads", AlterConfigOpType.SET, value)
    gone = ("log.cleaner.threads", AlterConfigOpType.DELETE, None)
    before = value()
    change(admin, ResourceType.BROKER, "0", put("2")).result(WAIT_MAX)
    comes_to(("2", ConfigSource.DYNAMIC_BROKER_CONFIG), value)
    change(admin, ResourceType.BROKER, "0", gone).result(WAIT_MAX)
    comes_to(before, value)


def test_a_group_has_a_config_of_its_own(admin):
    group = unique("group")
    put = ("consumer.session.timeout.ms", AlterConfigOpType.SET, "50000")
    change(admin, ResourceType.GROUP, group, put).result(WAIT_MAX)
    read = lambda: described(admin, ConfigResource(ResourceType.GROUP, group))["consumer.session.timeout.ms"].value
    comes_to("50000", read)
