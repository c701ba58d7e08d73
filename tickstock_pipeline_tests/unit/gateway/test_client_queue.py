"""The queue of one client: in order, bounded, and with room for what is new."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.gateway.client_queue import ClientQueue, Outgoing


@given(most=st.integers(1, 8), offered=st.integers(0, 20))
def test_no_more_than_its_size_is_kept_and_that_in_order(most: int, offered: int) -> None:
    async def scenario() -> list[str]:
        queue = ClientQueue(most)
        taken = [queue.offer(Outgoing(str(number))) for number in range(offered)]
        assert taken == [number < most for number in range(offered)]
        return [(await queue.take()).text for _ in range(len(queue))]

    assert asyncio.run(scenario()) == [str(number) for number in range(min(most, offered))]


def test_what_is_sent_again_leaves_half_of_the_room_to_what_is_new() -> None:
    async def scenario() -> list[str]:
        queue = ClientQueue(4)

        async def send_again() -> None:
            for number in range(6):
                await queue.put(Outgoing(f"old {number}"))

        sending = asyncio.create_task(send_again())
        await asyncio.sleep(0)
        assert len(queue) == 2
        assert queue.offer(Outgoing("new"))
        found = [(await queue.take()).text for _ in range(7)]
        await sending
        return found

    assert asyncio.run(scenario()) == ["old 0", "old 1", "new", *(f"old {number}" for number in range(2, 6))]


def test_taking_waits_for_the_first_message() -> None:
    async def scenario() -> str:
        queue = ClientQueue(1)
        waiting = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        assert queue.offer(Outgoing("first"))
        return (await waiting).text

    assert asyncio.run(scenario()) == "first"
