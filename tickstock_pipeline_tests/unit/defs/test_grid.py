"""The grid's ranges: the same keys as Dagster's own, said once."""

import dagster as dg
import pytest

from tickstock_pipeline.defs.partitions import SYMBOLS, Grid

RANGE = dg.PartitionKeyRange("BBB|2011", "CCC|2013")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("symbols", ["BBB", "AAA", "CCC", "DDD"])
        yield instance


def keys(definition: dg.MultiPartitionsDefinition, instance: dg.DagsterInstance, wanted: dg.PartitionKeyRange):
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        return definition.get_partition_keys_in_range(wanted)


def test_a_range_has_the_keys_that_dagster_itself_gives_in_its_order(instance):
    grid = Grid.starting(2000).definition
    years = grid.get_partitions_def_for_dimension("year")
    own = dg.MultiPartitionsDefinition({"symbol": SYMBOLS, "year": years})

    assert keys(grid, instance, RANGE) == keys(own, instance, RANGE)
    assert keys(grid, instance, RANGE)[:4] == ["BBB|2011", "BBB|2012", "BBB|2013", "AAA|2011"]


def test_a_range_is_worked_out_once_and_another_one_for_itself(instance):
    grid = Grid.starting(2000).definition
    first = keys(grid, instance, RANGE)

    assert keys(grid, instance, RANGE) is first
    assert keys(grid, instance, dg.PartitionKeyRange("BBB|2011", "BBB|2011")) == ["BBB|2011"]
    instance.add_dynamic_partitions("symbols", ["EEE"])
    assert keys(grid, instance, RANGE) == first


def test_another_instance_has_its_own_symbols(instance):
    grid = Grid.starting(2000).definition
    keys(grid, instance, RANGE)

    with dg.DagsterInstance.ephemeral() as other:
        other.add_dynamic_partitions("symbols", ["BBB", "CCC"])
        assert len(keys(grid, other, RANGE)) == 2 * 3
