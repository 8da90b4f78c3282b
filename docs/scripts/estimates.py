"""Memory and hours of a recipe: computed from its own file, the shape of the model and the data sheet of the GPU.

    recipe     what a host's file asks for (`Recipe`; `recipe_files.py` reads the files)
    memory     what one GPU holds while training and while generating (`memory`)
    times      seconds of one step by part, and hours of all steps (`times`)

Everything here is computed and nothing measured. The few things that no file says are in `Assumed`, each with its
reason. A GB is 10^9 bytes, times are seconds. Left out: moving new weights into the inference engine,
saving, starting, compiling, a reward that is slow, and GPUs that wait for each other.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

__all__ = ["GPUS", "SHAPES", "Assumed", "Gpu", "Memory", "Recipe", "Shape", "Times", "kv_tokens", "memory", "times"]

GB = 1e9
ADAM_BYTES = 12
"""For a trained parameter, in fp32: the parameter itself and Adam's two averages."""
LIVE_PARAMETERS = 1e9
"""Gathered at a time where the parameters are sharded: `stage3_max_live_parameters` of DeepSpeed, unless set."""
HEAD_TILE = 4096 * 32768 * 4
"""Logits that a fused head holds at once, in bytes: a tile of tokens and a part of the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Qwen2 model, as its config.json says."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    """`intermediate_size`."""
    vocabulary: int
    tied: bool = False
    """Whether the output head is the embedding."""

    @property
    def parameters(self) -> int:
        """All of them: Qwen2 has biases on queries, keys and values, and no others."""
        head = self.hidden // self.heads
        read = (self.heads + 2 * self.kv_heads) * head
        attention = (self.hidden + 1) * read + self.hidden * self.hidden
        layer = attention + 3 * self.hidden * self.inner + 2 * self.hidden
        return self.layers * layer + self.hidden + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def kv_bytes(self) -> int:
        """Of one token in the KV cache, in bf16."""
        return 2 * 2 * self.layers * self.kv_heads * (self.hidden // self.heads)

    def adapters(self, rank: int) -> int:
        """Parameters of LoRA on all linear layers but the head: `rank` rows and columns of each."""
        kv = self.kv_heads * (self.hidden // self.heads)
        sides = 2 * (2 * self.hidden) + 2 * (self.hidden + kv) + 3 * (self.hidden + self.inner)
        return rank * self.layers * sides


SHAPES = {
    "Qwen/Qwen2.5-7B": Shape(hidden=3584, layers=28, heads=28, kv_heads=4, inner=18944, vocabulary=152064),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": Shape(
        hidden=1536, layers=28, heads=12, kv_heads=2, inner=8960, vocabulary=151936
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": Shape(
        hidden=3584, layers=28, heads=28, kv_heads=4, inner=18944, vocabulary=152064
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": Shape(
        hidden=5120, layers=64, heads=40, kv_heads=8, inner=27648, vocabulary=152064
    ),
}
"""As their config.json files say, none of which ties its embeddings."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What the maker publishes of one GPU."""

    name: str
    memory: float
    """Bytes. What is sold as 80 GB holds a little more than 80e9."""
    flops: float
    """Dense bf16, a second."""
    bandwidth: float
    """Of its memory, bytes a second."""
    link: float
    """To its neighbours in a machine, bytes a second in one direction."""


GPUS = {
    "H100": Gpu(name="H100 SXM", memory=80 * GB, flops=989e12, bandwidth=3.35e12, link=450e9),
    "A100": Gpu(name="A100 SXM 80 GB", memory=80 * GB, flops=312e12, bandwidth=2.039e12, link=300e9),
}


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What neither a file nor a data sheet says."""

    prompt: float = 1500
    """Mean tokens of a judge's prompt: the instructions, a question, and two responses of some hundred tokens each"""
    reply: float = 2000
    """Mean tokens of a judgement over the whole training, or half the limit where that is less. Not known before a run;
    the log of a host has it"""
    utilisation: float = 0.35
    """Share of the peak FLOPs that training, log-probabilities and prefill reach. Llama 3 reports 0.38 to 0.43 for
    pre-training on H100; passes of one reply are shorter"""
    bandwidth: float = 0.6
    """Share of the bandwidth that decoding gets from memory, and gathering weights from the links. Sampling, scheduling
    and starting kernels take the rest"""
    between: float = 50e9
    """Bytes a second between machines for each GPU, one direction: a port of 400 Gb/s each"""
    reserve: float = 6 * GB
    """Of each GPU for the CUDA context, buffers of NCCL and what the allocator cannot use. Counts for memory alone"""
    engine: float = 3 * GB
    """Of the inference engine's share for a prefill of some thousand tokens and CUDA graphs"""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a host's file asks for, in words that are the same for every host."""

    host: str
    name: str
    """`judge_7b`, the same for every host."""
    model: str
    """A key of `SHAPES`."""
    gpus: int
    machines: int = 1
    prompts: int
    """Of one step, from which `replies` are sampled each."""
    replies: int
    updates: int
    """Optimizer steps of one step."""
    prompt_limit: int
    reply_limit: int
    steps: int
    """Batches that are generated, not optimizer steps."""
    tensor_parallel: int = 1
    """GPUs of one inference engine; each GPU generates."""
    engine_share: float
    """Of a GPU's memory that the inference engine may take while it generates, weights included."""
    engine_sleeps: bool
    """Whether it gives its memory back while the model trains."""
    states_stay: bool = True
    """Whether weights, gradients and optimizer stay on the GPU while the engine generates."""
    weights_stay: bool = False
    """Whether the bf16 weights, and the reference, stay there even where gradients and optimizer do not."""
    rows_at_once: int | None = None
    """Most replies that one engine generates at a time; None where only its memory limits them."""
    shards: int
    """GPUs that share one copy of weights, gradients and optimizer: all of them for ZeRO-3 and FSDP, 1 for none."""
    pass_tokens: int
    """Most tokens of one forward and backward pass on one GPU."""
    padded: bool
    """Whether every row is computed as if it were as long as the limits, since it is padded to the longest one."""
    checkpointing: bool = True
    fused_head: bool
    """Whether log-probabilities are computed in tiles, so that never all logits of a pass exist."""
    adapter_rank: int | None = None
    """Of LoRA on all linear layers; None where all parameters are trained."""
    frozen_bytes: int = 2
    """Of a weight under adapters: 4 where the model is loaded in fp32. Of trained ones fp32 is counted as Adam's."""
    reference_stays: bool = True
    """Whether the reference is on the GPU when it is not at work. Adapters need none: they are switched off."""
    policy_passes: int = 1
    """Passes over the replies by the policy before the update: 1 where its log-probabilities are computed anew."""
    learning_rate: float
    temperature: float
    kl: float
    """Weight of the KL term in the loss; there is no reference where it is 0."""
    clip: float
    """Of the ratio, on both sides."""

    @property
    def reference(self) -> bool:
        return self.kl > 0

    @property
    def shape(self) -> Shape:
        return SHAPES[self.model]

    @property
    def rows(self) -> int:
        """Replies of one step."""
        return self.prompts * self.replies

    @property
    def trained(self) -> int:
        """Parameters that have gradients."""
        return self.shape.parameters if self.adapter_rank is None else self.shape.adapters(self.adapter_rank)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one GPU."""

    weights: float
    gradients: float
    optimizer: float
    reference: float
    gathered: float
    """Parameters of the layers at work, where they are sharded."""
    activations: float
    """The input of each layer, and all of one layer, whose other values are computed again."""
    logits: float
    engine: float
    """The inference engine with its KV cache."""
    kv_cache: float
    reserve: float
    training: float
    """The sum while the model trains."""
    generating: float
    """The sum while the engine generates."""

    def fits(self, gpu: Gpu) -> bool:
        """Whether both sums are within the GPU, and the engine has room for a KV cache."""
        return max(self.training, self.generating) <= gpu.memory and self.kv_cache > 0


def memory(recipe: Recipe, gpu: Gpu, assumed: Assumed | None = None) -> Memory:
    """What one GPU holds, for the longest pass that the recipe allows.

    Args:
        recipe: what is trained.
        gpu: on what.
        assumed: what the GPU and the engine need beside what is counted here.
    """
    assumed = assumed or Assumed()
    shape, shards = recipe.shape, recipe.shards
    bytes_each = 2 if recipe.adapter_rank is None else recipe.frozen_bytes
    weights, gradients = bytes_each * shape.parameters / shards, 2 * recipe.trained / shards
    optimizer = ADAM_BYTES * recipe.trained / shards
    second_copy = recipe.reference and recipe.reference_stays and recipe.adapter_rank is None
    reference = weights if second_copy else 0.0
    whole = 2 * shape.parameters
    gathered = min(whole, 2 * (LIVE_PARAMETERS + shape.vocabulary * shape.hidden)) if shards > 1 else 0.0
    engine = recipe.engine_share * gpu.memory
    states = weights + gradients + optimizer + reference
    staying = states if recipe.states_stay else weights + reference if recipe.weights_stay else 0
    activations, logits = _activations(recipe), _logits(recipe)
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        reference=reference,
        gathered=gathered,
        activations=activations,
        logits=logits,
        engine=engine,
        kv_cache=engine - whole / recipe.tensor_parallel - assumed.engine,
        reserve=assumed.reserve,
        training=states + gathered + activations + logits + assumed.reserve + (0 if recipe.engine_sleeps else engine),
        generating=engine + assumed.reserve + staying,
    )


def _activations(recipe: Recipe) -> float:
    """In bf16: the input of every layer, and what one layer keeps, twice since its gradients are of the same size.

    A layer keeps about 8 values of the hidden size (two norms, queries, keys, values, attention and two sums) and 4 of
    the inner size (gate, its activation, up, their product) a token. Attention itself keeps none: it is computed in
    tiles.
    """
    shape, tokens = recipe.shape, recipe.pass_tokens
    layer = 2 * 2 * tokens * (8 * shape.hidden + 4 * shape.inner)
    if not recipe.checkpointing:
        return shape.layers * layer / 2
    return 2 * tokens * shape.layers * shape.hidden + layer


def _logits(recipe: Recipe) -> float:
    """Logits of a pass: in bf16, in fp32 and their gradient in fp32; or a tile, and the fp32 gradient of the head."""
    shape = recipe.shape
    if not recipe.fused_head:
        return recipe.pass_tokens * shape.vocabulary * (2 + 4 + 4)
    return HEAD_TILE + (4 * shape.vocabulary * shape.hidden if recipe.adapter_rank is None else 0)


def kv_tokens(recipe: Recipe, gpu: Gpu, assumed: Assumed | None = None) -> float:
    """Tokens that the KV cache of one engine holds, over all of its GPUs."""
    return max(0.0, memory(recipe, gpu, assumed).kv_cache) * recipe.tensor_parallel / recipe.shape.kv_bytes


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of one step, and hours of all of them."""

    generation: float
    log_probabilities: float
    update: float
    step: float
    hours: float


def times(recipe: Recipe, gpu: Gpu, assumed: Assumed | None = None) -> Times:
    """How long a step takes.

    Raises:
        ValueError: the engine has no room for a single reply.
    """
    assumed = assumed or Assumed()
    assumed = dataclasses.replace(
        assumed,
        reply=min(assumed.reply, recipe.reply_limit / 2),
        prompt=min(assumed.prompt, recipe.prompt_limit),
    )
    generation = _generation(recipe, gpu, assumed)
    forward = 2 * recipe.shape.parameters
    scored = (recipe.policy_passes + recipe.reference) * _pass(recipe, gpu, assumed, flops=forward, gathered=forward)
    # The backward pass costs the forward one twice, once for the inputs of a layer and once for its weights, which
    # frozen weights save; recomputing costs it once more. Weights are gathered for both, and gradients are sent back.
    backward = forward + (2 * recipe.trained if recipe.adapter_rank is not None else forward)
    flops = forward + backward + (forward if recipe.checkpointing else 0)
    update = _pass(recipe, gpu, assumed, flops=flops, gathered=2 * forward + 2 * recipe.trained)
    step = generation + scored + update
    return Times(
        generation=generation, log_probabilities=scored, update=update, step=step, hours=step * recipe.steps / 3600
    )


def _pass(recipe: Recipe, gpu: Gpu, assumed: Assumed, *, flops: float, gathered: float) -> float:
    """Seconds for one pass over all replies of a step.

    Args:
        recipe: whose rows they are.
        gpu: on what.
        assumed: what it reaches.
        flops: of one token. Attention's are left out, and the embedding's, which costs none, counted: at the lengths
            assumed here the two are about the same.
        gathered: bytes that each GPU gets from the others, where the weights are sharded. Computing hides it, or it
            hides computing.
    """
    limits = recipe.prompt_limit + recipe.reply_limit
    tokens = recipe.rows * (limits if recipe.padded else assumed.prompt + assumed.reply)
    computing = tokens * flops / (recipe.gpus * gpu.flops * assumed.utilisation)
    if recipe.shards == 1:
        return computing
    link = gpu.link if recipe.machines == 1 else assumed.between
    passes = tokens / recipe.gpus / recipe.pass_tokens
    return max(computing, passes * gathered / (link * assumed.bandwidth))


def _generation(recipe: Recipe, gpu: Gpu, assumed: Assumed) -> float:
    """Seconds until the last reply of a step is complete.

    Decoding reads the weights once for all replies at work and the KV cache of each reply, so it lasts as long as
    reading that from memory; or as long as computing it, where so many are at work that this is more. Replies follow
    each other in waves of the mean length, and the last wave lasts until the longest reply, which is as long as the
    limit. With lengths that spread like those of an exponential distribution, the half of the mean square is the square
    of the mean. The prompt is read anew for each reply, although an engine may share it.
    """
    shape, engines = recipe.shape, recipe.gpus / recipe.tensor_parallel
    rows = recipe.rows / engines
    room = kv_tokens(recipe, gpu, assumed) / (assumed.prompt + assumed.reply / 2)
    if room < 1:
        raise ValueError(f"{recipe.host} {recipe.name}: the engine has no room for a reply on {gpu.name}")
    at_once = min(rows, room, recipe.rows_at_once or rows)
    decodings = rows / at_once * assumed.reply + recipe.reply_limit - assumed.reply
    read = decodings * 2 * shape.parameters
    read += rows * assumed.reply * (assumed.prompt + assumed.reply) * shape.kv_bytes
    peak = gpu.flops * assumed.utilisation * recipe.tensor_parallel
    computing = rows * assumed.reply * 2 * shape.parameters / peak
    prefill = rows * assumed.prompt * 2 * shape.parameters / peak
    return max(read / (gpu.bandwidth * assumed.bandwidth * recipe.tensor_parallel), computing) + prefill
