"""REST makes way for gRPC, turn by turn, and only where there is something to make way for."""

import asyncio

from serving.turns import LEFT_TURNS, Turns


async def _started_at(turns: Turns, count: int) -> list[int]:
    """In which turn of the loop each of several REST requests starts that arrive in the same one."""
    loop, turn, running = asyncio.get_running_loop(), 0, True

    def tick() -> None:
        nonlocal turn
        turn += 1
        if running:
            loop.call_soon(tick)

    async def request() -> int:
        await turns.wait()
        return turn

    tick()
    started = await asyncio.gather(*[request() for _ in range(count)])
    running = False
    return [each - started[0] for each in started]


def test_without_grpc_nobody_waits():
    async def test() -> None:
        assert await _started_at(Turns(), 5) == [0, 0, 0, 0, 0]

    asyncio.run(test())


def test_beside_grpc_one_starts_and_the_others_start_together_later():
    async def test() -> None:
        turns = Turns()
        turns.note_grpc()
        first, *others = await _started_at(turns, 5)
        # The turn after the last one left to gRPC: that is when a future that was set wakes its task.
        assert (first, others) == (0, [LEFT_TURNS + 1] * 4)

    asyncio.run(test())


def test_a_lone_request_never_waits_and_leaves_no_turns_behind():
    async def test() -> None:
        turns = Turns()
        turns.note_grpc()
        for _ in range(3):
            assert await _started_at(turns, 1) == [0]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert turns._left == 0

    asyncio.run(test())


def test_one_that_is_cancelled_while_it_waits_holds_up_nobody():
    async def test() -> None:
        turns = Turns()
        turns.note_grpc()
        _, gone, stays = [asyncio.ensure_future(turns.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(stays, 5)
        assert gone.cancelled()

    asyncio.run(test())
