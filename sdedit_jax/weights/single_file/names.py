"""Names of the tensors in single files of Stable Diffusion, and those of the folder.

single file (CompVis, Stability AI)      folder (diffusers)
model.diffusion_model.                   unet/
first_stage_model.                       vae/
cond_stage_model.transformer.            text_encoder/   CLIP of Stable Diffusion 1
cond_stage_model.model.                  text_encoder/   OpenCLIP of Stable Diffusion 2
"""

import re

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = "cond_stage_model.transformer."
OPEN_CLIP = "cond_stage_model.model."

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
OPEN_CLIP_ENDS = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
FUSED = ("q_proj", "k_proj", "v_proj")
"""The parts of OpenCLIP's in_proj, in their order."""


def averaged(name: str) -> str:
    """The name of the average of a U-Net's tensor: LitEma of ldm leaves out the points."""
    return "model_ema." + name.removeprefix("model.").replace(".", "")


def unet(name: str, depth: int) -> str:
    """The folder's name of a tensor of the U-Net, without prefixes.

    Args:
        depth: residual blocks of a level on the way down.
    """
    head, last = name.rpartition(".")[::2]
    if head in ENDS:
        return f"{ENDS[head]}.{last}"
    found = re.fullmatch(r"(input_blocks|output_blocks)\.(\d+)\.(\d+)\.(.+)", name)
    if not found:
        middle = re.fullmatch(r"middle_block\.(\d)\.(.+)", name)
        if not middle or middle[1] not in MIDDLE:
            return name
        return f"mid_block.{MIDDLE[middle[1]]}.{_resnet(middle[2])}"
    down, inner = found[1] == "input_blocks", found[4]
    level, place = divmod(int(found[2]) - down, depth + 1)
    block = f"{'down' if down else 'up'}_blocks.{level}"
    if down and place == depth:
        return f"{block}.downsamplers.0.conv.{inner.removeprefix('op.')}"
    if found[3] != "0" and inner.startswith("conv."):
        return f"{block}.upsamplers.0.{inner}"
    if found[3] == "0":
        return f"{block}.resnets.{place}.{_resnet(inner)}"
    return f"{block}.attentions.{place}.{inner}"


def _resnet(inner: str) -> str:
    head, last = inner.rpartition(".")[::2]
    return f"{RESNET[head]}.{last}" if head in RESNET else inner


def vae(name: str, levels: int) -> str:
    """The folder's name of a tensor of the autoencoder, without prefixes."""
    name = name.replace("nin_shortcut", "conv_shortcut").replace(".norm_out.", ".conv_norm_out.")
    middle = re.fullmatch(r"(encoder|decoder)\.mid\.(block_1|attn_1|block_2)\.(.+)", name)
    if middle:
        side, part, inner = middle[1], middle[2], middle[3]
        if part != "attn_1":
            return f"{side}.mid_block.resnets.{int(part[-1]) - 1}.{inner}"
        head, last = inner.rpartition(".")[::2]
        return f"{side}.mid_block.attentions.0.{ATTENTION.get(head, head)}.{last}"
    found = re.fullmatch(r"(encoder|decoder)\.(down|up)\.(\d+)\.(.+)", name)
    if not found:
        return name
    side, way, level, inner = found[1], found[2], int(found[3]), found[4]
    level = level if way == "down" else levels - 1 - level  # theirs count the resolution
    inner = re.sub(r"^block\.", "resnets.", inner)
    inner = re.sub(r"^(down|up)sample\.conv\.", r"\1samplers.0.conv.", inner)
    return f"{side}.{way}_blocks.{level}.{inner}"


def open_clip(name: str) -> str | None:
    """The folder's name of a tensor of OpenCLIP's text tower; None: the folder has none."""
    if name in OPEN_CLIP_ENDS:
        return f"text_model.{OPEN_CLIP_ENDS[name]}"
    found = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)", name)
    if not found or found[2] not in OPEN_CLIP_LAYER:
        return None
    inner = f"{OPEN_CLIP_LAYER[found[2]]}.{found[3]}"
    return f"text_model.encoder.layers.{found[1]}.{inner}"


def open_clip_fused(name: str) -> list[str]:
    """The three names that the folder has for a fused in_proj; none for other tensors."""
    found = re.fullmatch(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", name)
    if not found:
        return []
    layer = f"text_model.encoder.layers.{found[1]}.self_attn"
    return [f"{layer}.{part}.{found[2]}" for part in FUSED]
