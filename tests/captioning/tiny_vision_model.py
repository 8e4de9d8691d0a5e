"""A LLaVA of random weights (350 kB) in Hugging Face's layout: looks at a picture, and says bytes that depend on it."""

from pathlib import Path


def save_tiny_vision_model(folder: Path):
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    letters = Tokenizer(models.BPE())
    letters.pre_tokenizer, letters.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<pad>", "<s>", "</s>", "<image>"])
    letters.train_from_iterator(["a photograph of a cup"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", bos_token="<s>", eos_token="</s>", extra_special_tokens={"image_token": "<image>"}
    )
    template = (
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
        "{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default", chat_template=template, num_additional_image_tokens=1
    )
    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**small, num_hidden_layers=3, image_size=28, patch_size=14, projection_dim=32),
            text_config=LlamaConfig(**small, vocab_size=len(tokenizer), num_hidden_layers=2, num_key_value_heads=2, max_position_embeddings=4096),
            image_token_index=image_token,
            image_token_id=image_token,
        )
    )
    model.generation_config.eos_token_id = None  # it always says as much as it may
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
