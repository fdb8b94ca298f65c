"""The diffusion model: noise schedule, U-Net, gradient condition, Stage I losses, inversion and sampling."""
