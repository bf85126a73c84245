"""Recurrent layers of one example in NumPy float64, step by step, from the papers' equations.

Arras et al. (2017, W17-5221, eq. 1 and section 3.2; 2019, arXiv:1909.12114): every sum is shared by `linear`, the
denominator is the full pre-activation, gates take nothing and activations pass whole. Written with the input and the
previous state side by side, so that nothing here looks like the engine's recursion.
"""

from dataclasses import dataclass

import numpy as np

ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "linear": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "hard_sigmoid": lambda z: np.clip(z / 6 + 0.5, 0.0, 1.0),
    "softsign": lambda z: z / (1 + np.abs(z)),
}


@dataclass
class Accounts:
    """What was absorbed."""

    bias: float = 0.0
    stabilizer: float = 0.0


@dataclass
class Rule:
    epsilon: float = 1e-6
    bias: str = "absorb"

    def linear(self, a, w, b, R, accounts, *, readable):
        """Inputs `a`, weights (inputs, units), bias (units,), relevance of the output; `readable` says which inputs are
        signals, among which `share` spreads.
        """
        z = a @ w + (0.0 if self.bias == "ignore" else b)
        s = np.where(z >= 0, 1.0, -1.0)
        R_in = np.zeros_like(a)
        for unit in range(w.shape[1]):
            if self.epsilon == 0 and z[unit] == 0:
                accounts.stabilizer += R[unit]
                continue
            c = R[unit] / (z[unit] + self.epsilon * s[unit])
            R_in += a * w[:, unit] * c
            of_bias = 0.0 if self.bias == "ignore" else b[unit] * c
            of_stabilizer = self.epsilon * s[unit] * c
            if self.bias == "share":
                R_in += np.where(readable, (of_bias + of_stabilizer) / np.sum(readable), 0.0)
            else:
                accounts.bias += of_bias
                accounts.stabilizer += of_stabilizer
        return R_in

    def add(self, parts, R, accounts):
        """Element-wise sums of two parts."""
        total = parts[0] + parts[1]
        s = np.where(total >= 0, 1.0, -1.0)
        if self.epsilon == 0:
            c = np.divide(R, total, out=np.zeros_like(R), where=total != 0)
            accounts.stabilizer += R[total == 0].sum()
        else:
            c = R / (total + self.epsilon * s)
            accounts.stabilizer += (self.epsilon * s * c).sum()
        return [part * c for part in parts]


class Recurrent:
    """One recurrent layer; `layer` is Keras', of which only weights and options are read."""

    def __init__(self, layer):
        cell = layer.cell
        self.kind = type(cell).__name__
        self.units = cell.units
        self.W, self.U = np.asarray(cell.kernel, np.float64), np.asarray(cell.recurrent_kernel, np.float64)
        gates = self.W.shape[1]
        bias = np.asarray(cell.bias, np.float64) if cell.use_bias else np.zeros(gates)
        self.b, self.b_recurrent = bias if bias.ndim == 2 else (bias, np.zeros(gates))
        self.activation = ACTIVATIONS[cell.activation.__name__]
        self.gate = ACTIVATIONS[cell.recurrent_activation.__name__] if hasattr(cell, "recurrent_activation") else None
        self.reset_after = getattr(cell, "reset_after", False)
        self.go_backwards = layer.go_backwards
        self.return_sequences = layer.return_sequences
        self.zero_output_for_mask = layer.zero_output_for_mask

    def _part(self, values, gate):
        return values[..., gate * self.units : (gate + 1) * self.units]

    def _gate(self, x, h, gate):
        z = x @ self._part(self.W, gate) + h @ self._part(self.U, gate)
        return self.gate(z + self._part(self.b, gate) + self._part(self.b_recurrent, gate))

    def run(self, x, initial=None, mask=None):
        """Output and final states; the trajectory is kept for `relevance`."""
        order = range(len(x))[::-1] if self.go_backwards else range(len(x))
        zeros = np.zeros(self.units)
        self.x, self.given = x, initial is not None
        state = [zeros, zeros] if initial is None else [np.asarray(s) for s in initial]
        state = state if self.kind == "LSTMCell" else state[:1]
        self.steps, outputs, output = [], [], zeros
        for t in order:
            open_ = mask is None or bool(mask[t])
            before = state
            if open_:
                state = self._step(x[t], state)
                output = state[0]
            shown = zeros if self.zero_output_for_mask and not open_ else output
            self.steps.append((t, open_, before, state))
            outputs.append(shown)
        self.outputs = np.stack(outputs)
        return (self.outputs if self.return_sequences else self.outputs[-1]), state

    def _step(self, x, state):
        h = state[0]
        if self.kind == "SimpleRNNCell":
            return [self.activation(x @ self.W + h @ self.U + self.b)]
        if self.kind == "LSTMCell":
            i, f, o = (self._gate(x, h, gate) for gate in (0, 1, 3))
            g = self.activation(x @ self._part(self.W, 2) + h @ self._part(self.U, 2) + self._part(self.b, 2))
            c = f * state[1] + i * g
            return [o * self.activation(c), c]
        z, r = self._gate(x, h, 0), self._gate(x, h, 1)
        W, U, b, b_recurrent = (self._part(v, 2) for v in (self.W, self.U, self.b, self.b_recurrent))
        recurrent = r * (h @ U + b_recurrent) if self.reset_after else (r * h) @ U
        return [z * h + (1 - z) * self.activation(x @ W + b + recurrent)]

    def relevance(self, R_output, R_states=None, rule=None):
        """R of the sequence and of the initial states, and the accounts."""
        rule = rule or Rule()
        accounts = Accounts()
        R_state = [np.zeros(self.units) for _ in self.steps[-1][3]]
        for position, R in enumerate(R_states or []):
            R_state[position] = R_state[position] + R
        R_x = np.zeros_like(self.x)
        # An output is the state of the last open step up to it; one without such a step is a constant zero.
        arriving = np.zeros((len(self.steps), self.units))
        for position in range(len(self.steps)):
            R = R_output[position] if self.return_sequences else R_output * (position == len(self.steps) - 1)
            source = position
            if not self.steps[position][1]:
                earlier = [p for p in range(position) if self.steps[p][1]]
                source = earlier[-1] if earlier and not self.zero_output_for_mask else None
            if source is None:
                accounts.bias += R.sum()
            else:
                arriving[source] += R
        open_count = sum(step[1] for step in self.steps)
        for position in reversed(range(len(self.steps))):
            t, open_, before, after = self.steps[position]
            if not open_:
                continue
            R_state[0] = R_state[0] + arriving[position]
            open_count -= 1
            is_signal = np.full(self.units, self.given or open_count > 0)
            readable = np.concatenate([np.ones(self.x.shape[1], bool), is_signal])
            R_x[t], R_state = self._back(self.x[t], before, after, R_state, rule, accounts, readable)
        if not self.given:
            accounts.bias += sum(R.sum() for R in R_state)
        return R_x, R_state, accounts

    def _back(self, x, before, after, R_state, rule, accounts, readable):
        n, h = len(x), before[0]
        if self.kind == "SimpleRNNCell":
            both = np.concatenate([x, h])
            R = rule.linear(both, np.vstack([self.W, self.U]), self.b, R_state[0], accounts, readable=readable)
            return R[:n], [R[n:]]
        if self.kind == "LSTMCell":
            i, f = self._gate(x, h, 0), self._gate(x, h, 1)
            W, U, b = (self._part(v, 2) for v in (self.W, self.U, self.b))
            g = self.activation(x @ W + h @ U + b)
            R_c = R_state[1] + R_state[0]  # o and tanh: nothing for the gate, all for the cell
            R_kept, R_g = rule.add([f * before[1], i * g], R_c, accounts)
            R = rule.linear(np.concatenate([x, h]), np.vstack([W, U]), b, R_g, accounts, readable=readable)
            return R[:n], [R[n:], R_kept]
        z, r = self._gate(x, h, 0), self._gate(x, h, 1)
        W, U, b, b_recurrent = (self._part(v, 2) for v in (self.W, self.U, self.b, self.b_recurrent))
        if self.reset_after:
            read, weights, bias = h, np.vstack([W, U * r]), b + r * b_recurrent
        else:
            read, weights, bias = r * h, np.vstack([W, U]), b
        both = np.concatenate([x, read])
        candidate = self.activation(both @ weights + bias)
        R_kept, R_g = rule.add([z * h, (1 - z) * candidate], R_state[0], accounts)
        R = rule.linear(both, weights, bias, R_g, accounts, readable=readable)
        return R[:n], [R[n:] + R_kept]
