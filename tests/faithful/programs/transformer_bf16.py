import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
model = nn.ModuleDict(
    {
        "embed": nn.Embedding(20, 32),
        "body": nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        "head": nn.Linear(32, 20),
    }
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
mask = nn.Transformer.generate_square_subsequent_mask(12)
for step in range(20):
    tokens = torch.randint(0, 20, (4, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model["head"](model["body"](model["embed"](tokens), mask=mask, is_causal=True))
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 10:
        model.eval()
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            model["head"](model["body"](model["embed"](tokens)))
        model.train()
show("transformer_bf16", model, optimizer, loss)
