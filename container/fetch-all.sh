#!/bin/sh
# Fetch the default template and the published weights into FOLDER, each if wanted and where its host can be reached.
# usage: fetch-all.sh FOLDER
# env: TEMPLATE, SYNTHSTRIP, BIOMEDCLIP (each auto, yes or no), and ..._URL, ..._SHA256 to take other files
set -eu
folder=$1
fetch() { python3 "$(dirname "$0")/fetch.py" "$@"; }

template=tpl-MNI152NLin2009cAsym
mkdir -p "$folder/templateflow"
for image in \
  "T1w ${TEMPLATE_T1W_SHA256:-1f27aabea9f7183dc0c69dafa71e1787b921ca778d655d9c1bf302b273d5627a}" \
  "desc-brain_mask ${TEMPLATE_MASK_SHA256:-e40bb1816736504d4c25abc243c1c8503df1d308f64c048318aa4b829e09a7ae}"
do
  name=${template}_res-01_${image% *}.nii.gz
  fetch "${TEMPLATE:-auto}" "${image#* }" \
    "${TEMPLATE_URL:-https://templateflow.s3.amazonaws.com}/$template/$name" "$folder/templateflow/$template/$name"
done
fetch "${SYNTHSTRIP:-auto}" \
  "${SYNTHSTRIP_SHA256:-37417f802196186441aae3e7f385d94f8a98c64a88acaeaa2723af995c653e33}" \
  "${SYNTHSTRIP_URL:-https://surfer.nmr.mgh.harvard.edu/docs/synthstrip/requirements/synthstrip.1.pt}" \
  "$folder/synthstrip.1.pt"
fetch "${BIOMEDCLIP:-auto}" \
  "${BIOMEDCLIP_SHA256:-52cc993c5c5ff962bd0c60931874bc001e7e9b41666a385530f4a036294576be}" \
  "${BIOMEDCLIP_URL:-https://huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224/resolve/9f341de24bfb00180f1b847274256e9b65a3a32e/open_clip_pytorch_model.bin}" \
  "$folder/biomedclip.bin"
