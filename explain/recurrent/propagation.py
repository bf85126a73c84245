"""Relevance through a recurrent layer: from all that it returned into its sequence and its initial states."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, final

import tensorflow as tf

from explain.recurrent.cells import FACTORS, Denominators, Factors, States
from explain.recurrent.recording import RecurrentCall
from explain.recurrent.scan import linear_recursion, product
from explain.relevance import Relevance, widen
from explain.rules import Rule

if TYPE_CHECKING:
    from explain.propagation import Walk


def propagate(call: RecurrentCall, received: list[Relevance | None], walk: "Walk", rule: Rule) -> None:
    """Shares out the relevance of a recurrent layer.

    Args:
        call: The traced call.
        received: Relevance of what it returned: output, then states.
        walk: The pass.
        rule: The epsilon rule with its parameters.
    """
    denominators = Denominators(rule.epsilon, rule.bias)
    layer = _Layer(call, walk, denominators)
    arrived = layer.arrived(received)
    relevance, candidate = layer.recur(arrived)
    shared = layer.spread(candidate)
    layer.send_to_sequence(candidate, shared)
    if relevance is not None:
        rest = layer.send_to_initial(relevance, arrived, shared)
        if walk.audits:
            layer.account(relevance, candidate, arrived, rest, shared)


@final
@dataclass(frozen=True)
class _Arrived:
    """Relevance that arrived.

    Args:
        last: On the state after the last step, `(batch, units)`.
        steps: On the states of all steps `(time, batch, units)`, or None.
        joined: Instead of `steps`: g with R = h_(t-1) g, of each step for the state before it.
        finals: On each returned state, `(batch, units)`, where any arrived.
        lost: On outputs that are zero whatever was read, `(batch,)`; None for none.
    """

    last: tf.Tensor
    steps: tf.Tensor | None
    joined: tf.Tensor | None
    finals: dict[int, tf.Tensor]
    lost: tf.Tensor | None


@final
@dataclass(frozen=True)
class _Shared:
    """What the bias and the stabiliser of the candidate hold, spread over what it reads (`bias="share"`).

    Args:
        each: For each input of each step `(time, batch, 1)`.
    """

    each: tf.Tensor


@final
@dataclass(frozen=True, eq=False)
class _Layer:
    """A recurrent layer in the relevance pass, time first and in the order of processing."""

    call: RecurrentCall
    walk: "Walk"
    denominators: Denominators

    @cached_property
    def x(self) -> tf.Tensor:
        """`(time, batch, features)`."""
        return self._in_order(tf.transpose(widen(self.call.sequence), [1, 0, 2]))

    @cached_property
    def mask(self) -> tf.Tensor | None:
        """bool `(time, batch, 1)`."""
        if self.call.mask is None:
            return None
        return self._in_order(tf.transpose(tf.cast(self.call.mask, tf.bool)))[..., tf.newaxis]

    @cached_property
    def started(self) -> tf.Tensor | None:
        """A step up to this one was not masked, bool `(time, batch, 1)`; None where there is no mask."""
        return None if self.mask is None else tf.cumsum(tf.cast(self.mask, tf.int32)) > 0

    @cached_property
    def initial(self) -> list[tf.Tensor]:
        """The initial states, `(batch, units)`: hidden, and carry where the cell has one."""
        if self.call.initial:
            return [tf.cast(state, self.x.dtype) for state in self.call.initial]
        return [tf.zeros_like(widen(self.call.hidden)[:, 0])] * 2

    @property
    def initial_is_signal(self) -> bool:
        """Relevance flows on into an initial state."""
        return any(self.walk.trace.is_signal(state) for state in self.call.initial)

    @cached_property
    def hidden(self) -> tf.Tensor:
        """Hidden states after each step, `(time, batch, units)`."""
        hidden = tf.transpose(widen(self.call.hidden), [1, 0, 2])
        if self.started is None or not self.call.initial:
            return hidden
        return tf.where(self.started, hidden, self.initial[0])  # Keras outputs zeros before the first step

    @cached_property
    def factors(self) -> Factors:
        """The factors of the recursion."""
        previous = tf.concat([self.initial[0][tf.newaxis], self.hidden[:-1]], axis=0)
        states = States(self.x, previous, self.hidden, self.initial[-1], self.mask)
        return FACTORS[type(self.call.cell)](self.call.cell, states, self.denominators)

    @cached_property
    def is_first(self) -> tf.Tensor:
        """The step is the first that isn't masked: 0 or 1, `(time, batch or 1, 1)`."""
        if self.mask is None or self.started is None:
            return tf.one_hot(0, tf.shape(self.x)[0], dtype=self.x.dtype)[:, tf.newaxis, tf.newaxis]
        return tf.cast(self.mask & (tf.cumsum(tf.cast(self.mask, tf.int32)) == 1), self.x.dtype)

    def arrived(self, received: list[Relevance | None]) -> _Arrived:
        """Relevance of the output and of the returned states."""
        output, *states = received
        finals = {position: state.value() for position, state in enumerate(states) if state is not None}
        last, steps, joined, lost = list(finals.values()), None, None, None
        if output is not None and self._reads_what_was_returned and output.gradient is not None:
            g = tf.transpose(output.gradient, [1, 0, 2])
            last.append(self.hidden[-1] * g[-1])
            joined = tf.concat([g[-1:], g[:-1]], axis=0)  # what joins at the first step is read by none
        elif output is not None:
            r, alive = output.value(), self._alive
            if self.call.returns_sequence:
                steps = r = tf.transpose(r, [1, 0, 2])
                if alive is not None:
                    steps = r * alive
                    lost = tf.reduce_sum(r - steps, axis=[0, 2])
            elif alive is None:
                last.append(r)
            else:
                last.append(r * alive[-1])
                lost = tf.reduce_sum(r - r * alive[-1], axis=1)
        start = tf.add_n(last) if last else tf.zeros_like(self.initial[0])
        return _Arrived(start, steps, joined, finals, lost)

    @property
    def _reads_what_was_returned(self) -> bool:
        """The candidate reads of each state what the layer returned for the step before, and nothing else of it."""
        return self.call.returns_sequence and self.mask is None and self.factors.read_is_hidden

    def recur(self, arrived: _Arrived) -> tuple[tf.Tensor | None, tf.Tensor]:
        """S, relevance of the state after each step, where it is needed, and k; `(time, batch, units)`."""
        factors = self.factors
        is_candidate = factors.reset is None and not self.walk.audits and not self.initial_is_signal
        result = linear_recursion(
            arrived.last,
            factors.recurrent_kernel,
            read=factors.read,
            write=self._write,
            keep=factors.keep,
            spill=self._spill,
            joined=arrived.joined,
            arrived=arrived.steps,
            yields_written=is_candidate,
        )
        return (None, result) if is_candidate else (result, factors.slope * result)

    def spread(self, candidate: tf.Tensor) -> _Shared | None:
        """What is spread evenly."""
        return None if self._evenly is None else _Shared(tf.reduce_sum(self._evenly * candidate, -1, keepdims=True))

    def send_to_sequence(self, candidate: tf.Tensor, shared: _Shared | None) -> None:
        """R_x,t = x_t (W k_t)."""
        g = self._out_of_order(product(candidate, self.factors.input_kernel, transposed=True))
        sequence = self.call.sequence
        if shared is None:
            self.walk.send(sequence, Relevance(sequence, gradient=g))
        else:
            together = widen(sequence) * g + self._out_of_order(shared.each)
            self.walk.send(sequence, Relevance(sequence, relevance=together))

    def send_to_initial(self, relevance: tf.Tensor, arrived: _Arrived, shared: _Shared | None) -> tf.Tensor:
        """Relevance of the initial states, sent on; returns what constant ones hold, `(batch,)`."""
        parts = self._to_initial(relevance, arrived, shared)
        held = [tf.zeros_like(relevance[0, :, 0])]
        for position, part in enumerate(parts):
            state = self.call.initial[position] if self.call.initial else None
            if state is not None and self.walk.trace.is_signal(state):
                self.walk.send(state, Relevance(state, relevance=part))
            else:
                held.append(tf.reduce_sum(part, axis=-1))
        return tf.add_n(held)

    def account(
        self, relevance: tf.Tensor, candidate: tf.Tensor, arrived: _Arrived, rest: tf.Tensor, shared: _Shared | None
    ) -> None:
        """Notes what was absorbed."""
        factors, bias, stabilizer = self.factors, [rest], []
        if arrived.lost is not None:
            bias.append(arrived.lost)
        if shared is None:
            stabilizer.append(candidate * factors.stabilizer)
            if factors.bias is not None:
                bias.append(tf.reduce_sum(candidate * factors.bias, axis=[0, 2]))
        stabilizer += [relevance * lost for lost in (factors.lost, factors.lost_in_candidate) if lost is not None]
        total = tf.add_n([tf.reduce_sum(part, axis=[0, 2]) for part in stabilizer]) if stabilizer else None
        self.walk.absorb(self.call.mark, bias=tf.add_n(bias), stabilizer=total)

    @cached_property
    def _write(self) -> tf.Tensor:
        """What the recurrent product reads of S."""
        return self.factors.slope if self.factors.reset is None else self.factors.slope * self.factors.reset

    @cached_property
    def _evenly(self) -> tf.Tensor | None:
        """What one input gets of each k, for `bias="share"`: a state of constant zeros is none, like padding."""
        if self.denominators.bias != "share":
            return None
        features, units = self.factors.input_kernel.shape
        held = self.factors.stabilizer if self.factors.bias is None else self.factors.stabilizer + self.factors.bias
        return held / (features + (units if self.initial_is_signal else units * (1 - self.is_first)))

    @cached_property
    def _spill(self) -> tf.Tensor | None:
        """What one unit of the previous state gets of each S that way."""
        if self._evenly is None:
            return None
        spill = self._evenly * self.factors.slope
        return spill if self.initial_is_signal else spill * (1 - self.is_first)

    @cached_property
    def _alive(self) -> tf.Tensor | None:
        """0 where an output is zero whatever was read, else 1, `(time, batch, 1)`; None where it is 1 everywhere."""
        if self.mask is None or self.started is None:
            return None
        if self.call.zeros_where_masked:
            return tf.cast(self.mask, self.x.dtype)
        return tf.cast(self.started, self.x.dtype) if self.call.initial else None

    def _to_initial(self, relevance: tf.Tensor, arrived: _Arrived, shared: _Shared | None) -> list[tf.Tensor]:
        """Relevance of the hidden state and, for LSTM, of the carry before the first step."""
        factors, s = self.factors, self._at_first(relevance)
        written = self._at_first(self._write) * s
        hidden = self._at_first(factors.read) * tf.matmul(written, factors.recurrent_kernel, transpose_b=True)
        if shared is not None and self.initial_is_signal:
            hidden += self._at_first(shared.each)
        untouched = None if self.started is None else 1 - tf.cast(self.started[-1], s.dtype)  # all steps are masked
        if factors.keep is None:
            return [hidden]
        kept = self._at_first(factors.keep) * s
        if self.call.kind != "LSTM" or not self.call.initial:
            return [hidden + kept if untouched is None else hidden + kept + untouched * relevance[0]]
        if untouched is None:
            return [hidden, kept]
        finals = [arrived.finals.get(position, tf.zeros_like(s)) for position in range(2)]
        return [hidden + untouched * finals[0], kept + untouched * finals[1]]

    def _at_first(self, values: tf.Tensor) -> tf.Tensor:
        """The values at the first step that isn't masked, `(batch, ...)`; zeros where there is none."""
        return values[0] if self.mask is None else tf.reduce_sum(self.is_first * values, axis=0)

    def _in_order(self, values: tf.Tensor) -> tf.Tensor:
        return tf.reverse(values, [0]) if self.call.go_backwards else values

    def _out_of_order(self, values: tf.Tensor) -> tf.Tensor:
        return tf.transpose(self._in_order(values), [1, 0, 2])
