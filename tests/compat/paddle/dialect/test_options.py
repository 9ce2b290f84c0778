# ruff: noqa: E501 - a table
"""Every option of every component of PaddleClas that ours stands for: translated, or refused by name.

The signatures are those of PaddleClas 2.6 (its fact sheets); a `weight` is that of an entry of a list of losses.
"""

from __future__ import annotations

import pytest

from tinysight.compat.paddle.dialect.rules import Reader, tables

OPTIONS = {
    "losses": """
        CELoss weight reduction epsilon
        SoftTargetCrossEntropy weight
        MultiLabelLoss weight epsilon size_sum weight_ratio
        MultiLabelAsymmetricLoss weight gamma_pos gamma_neg clip eps disable_focal_loss_grad reduction
        GoogLeNetLoss weight epsilon
        TripletLoss weight margin
        TripletLossV2 weight margin normalize_feature feature_from
        TripletAngularMarginLoss weight margin normalize_feature reduction add_absolute absolute_loss_weight ap_value an_value feature_from
        TripletAngularMarginLoss_XBM weight start_iter xbm_size xbm_weight feat_dim margin normalize_feature reduction add_absolute absolute_loss_weight ap_value an_value feature_from
        TriHardLoss weight batch_size samples_each_class margin
        MSMLoss weight batch_size samples_each_class margin
        EmlLoss weight batch_size samples_each_class
        NpairsLoss weight reg_lambda
        ContrastiveLoss weight margin embedding_size normalize_feature epsilon feature_from
        ContrastiveLoss_XBM weight xbm_size xbm_weight start_iter margin embedding_size epsilon normalize_feature feature_from
        CenterLoss weight num_classes feat_dim feature_from
        SupConLoss weight views temperature contrast_mode base_temperature normalize_feature
        PairwiseCosface weight margin gamma
        DCHLoss weight gamma _lambda n_class
        LCDSHLoss weight n_class _lambda
        DSHSDLoss weight alpha multi_label
        CELossForMetaBIN weight reduction epsilon
        TripletLossForMetaBIN weight margin normalize_feature feature_from
        InterDomainShuffleLoss weight normalize_feature feature_from
        IntraDomainScatterLoss weight normalize_feature feature_from
    """,
    "optimizers": """
        SGD lr weight_decay regularizer clip_norm clip_grad multi_precision no_weight_decay_name one_dim_param_no_weight_decay
        Momentum lr momentum weight_decay regularizer clip_norm clip_grad use_nesterov multi_precision no_weight_decay_name one_dim_param_no_weight_decay
        Adam lr beta1 beta2 epsilon weight_decay regularizer clip_norm lazy_mode multi_precision no_weight_decay_name one_dim_param_no_weight_decay
        AdamW lr beta1 beta2 epsilon weight_decay multi_precision clip_grad clip_norm no_weight_decay_name one_dim_param_no_weight_decay
        AdamWDL lr beta1 beta2 epsilon weight_decay multi_precision clip_grad layerwise_decay filter_bias_and_bn
        RMSProp lr momentum rho epsilon weight_decay regularizer clip_norm multi_precision no_weight_decay_name one_dim_param_no_weight_decay
    """,
    "schedules": """
        Constant learning_rate warmup_epoch warmup_start_lr by_epoch last_epoch verbose
        ConstLR learning_rate warmup_epoch warmup_start_lr by_epoch last_epoch verbose
        Linear learning_rate end_lr power cycle warmup_epoch warmup_start_lr by_epoch last_epoch
        Cosine learning_rate eta_min warmup_epoch warmup_start_lr by_epoch last_epoch
        Step learning_rate step_size gamma warmup_epoch warmup_start_lr by_epoch last_epoch
        Piecewise learning_rate decay_epochs values warmup_epoch warmup_start_lr by_epoch last_epoch
        MultiStepDecay learning_rate milestones gamma warmup_epoch warmup_start_lr by_epoch last_epoch
        ReduceOnPlateau learning_rate mode factor patience threshold threshold_mode cooldown min_lr epsilon warmup_epoch warmup_start_lr by_epoch last_epoch verbose
        CosineFixmatch learning_rate num_warmup_steps num_cycles last_epoch
        OneCycleLR max_learning_rate divide_factor phase_pct end_learning_rate anneal_strategy three_phase warmup_epoch warmup_start_lr by_epoch last_epoch verbose
        Cyclic base_learning_rate max_learning_rate step_size_up step_size_down mode exp_gamma scale_fn scale_mode warmup_epoch warmup_start_lr by_epoch last_epoch verbose
    """,
    "metrics": """
        TopkAcc topk
        TprAtFpr max_fpr
        ATTRMetric threshold
        MultiLabelMAP map_type
        HammingDistance bi_threshold
        AccuracyScore base bi_threshold
        Recallk topk descending
        mAP descending
        mINP descending
        Precisionk topk descending
        DistillationTopkAcc model_key feature_key topk
        GoogLeNetTopkAcc topk
    """,
    "postprocessors": """
        Topk name topk class_id_map_file delimiter label_list
        ThreshOutput name threshold default_label_index label_0 label_1 class_id_map_file delimiter
        MultiLabelThreshOutput name threshold class_id_map_file delimiter
        PersonAttribute name threshold glasses_threshold hold_threshold
        FaceAttribute name threshold convert_cn
        VehicleAttribute name color_threshold type_threshold
        TableAttribute name source_threshold number_threshold color_threshold clarity_threshold obstruction_threshold angle_threshold
        ScoreOutput name decimal_places
        Binarize method
        SavePreLabel save_dir
    """,
    "operators": """
        DecodeImage to_np to_rgb channel_first backend
        ToCHWImage
        ResizeImage size resize_short interpolation backend return_numpy
        CropImage size
        CropImageAtRatio size pad interpolation backend
        CropWithPadding prob padding_num size scale ratio interpolation key
        RandCropImage size progress_size scale ratio interpolation use_log_aspect backend
        RandCropImageV2 size
        RandomCropImage size
        RandFlipImage flip_code
        NormalizeImage scale mean std order output_fp16 channel_num
        RandomErasing EPSILON sl sh r1 mean attempt use_log_aspect mode
        TimmAutoAugment prob config_str interpolation img_size mean
        AutoAugment
        RandAugment num_layers magnitude fillcolor
        RandAugmentV2 num_layers magnitude progress_magnitude fillcolor
        RandAugmentV3 num_layers magnitude fillcolor interpolation
        RandAugmentV4
        AugMix prob aug_prob_coeff mixture_width mixture_depth aug_severity
        Cutout n_holes length fill_value
        GridMask d1 d2 rotate ratio mode prob
        HideAndSeek
        ColorJitter prob brightness contrast saturation hue
        RandomRotation prob degrees interpolation
        RandomGrayscale p
        RandomApply p transforms
        RandomRot90 label_key
        RandomInterpolationAugment prob
        BlurImage ratio
        PCALighting
        Pad padding fill padding_mode backend
        Padv2 size size_divisor pad_mode offsets fill_value
        Pad_paddle_vision padding fill padding_mode keys
        ToTensor data_format keys
        Normalize mean std data_format to_rgb keys
        Resize size interpolation keys
        CenterCrop size keys
        RandomHorizontalFlip prob keys
        RandomResizedCrop size scale ratio interpolation keys
    """,
    "batch_operators": """
        MixupOperator class_num alpha prob
        CutmixOperator class_num alpha prob
        FmixOperator class_num alpha decay_power max_soft reformulate prob
        MixupCutmixHybrid mixup_alpha cutmix_alpha cutmix_minmax prob switch_prob mode correct_lam label_smoothing num_classes
    """,
}  # fmt: skip
ROWS = [
    pytest.param(table, name, options, id=f"{table}-{name}")
    for table, text in OPTIONS.items()
    for name, *options in map(str.split, text.strip().splitlines())
]


@pytest.mark.parametrize(("table", "name", "options"), ROWS)
def test_every_option_is_known(table: str, name: str, options: list[str]) -> None:
    """An option that a component does not know would be reported as an unknown key."""
    reader = Reader()
    reader.component("component", table, name, dict.fromkeys(options), name)
    assert [p for p in reader.problems if "unknown" in p.what] == []
    reader.component("component", table, name, {"no_such_option": 1}, name)
    assert reader.problems  # refused as a whole, or the option is


SECTIONS = {
    "sampler": (
        "name batch_size drop_last shuffle sample_per_id sample_method id_list ratio num_instances max_iters scales "
        "first_bs divided_factor is_training seed num_repeats"
    ),
    "loader": "num_workers use_shared_memory",
    "EMA": "decay",
    "AMP": "use_amp level scale_loss use_dynamic_loss_scaling use_fp16_test use_promote",
    "Arch": (
        "name class_num pretrained use_ssld use_sync_bn use_ml_decoder lr_mult_list stride_list use_last_conv class_expand "
        "dropout_prob drop_rate drop_path_rate dropout attn_drop_rate layer_scale_init_value depth widen_factor data_format "
        "input_image_channel layer_type return_patterns return_stages freeze_befor stop_after infer_output_key "
        "infer_add_softmax infer_model_name is_rec head_feature_from override_params model_ema model_key image_channel "
        "use_fused_attn use_fused_linear Backbone BackboneStopLayer Neck Head models freeze_params_list pretrained_list"
    ),
    "deploy_global": (
        "infer_imgs inference_model_dir rec_inference_model_dir det_inference_model_dir batch_size use_gpu use_npu use_xpu "
        "use_mlu enable_mkldnn cpu_num_threads gpu_mem use_fp16 use_int8 ir_optim use_tensorrt enable_profile use_onnx "
        "benchmark enable_benchmark output_dir"
    ),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_section_is_known(section: str) -> None:
    assert set(SECTIONS[section].split()) - set(tables()[section]) == set()
