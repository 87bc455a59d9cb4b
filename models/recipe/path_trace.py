"""The rasteriser's scenes by Blender's path tracer Cycles: light under the skin, soft shadows, reflections.

Needs the package ``bpy`` (Blender as a module, GPL: it draws, and what it draws is ours). This file is not
called after Cycles, whose own Python package would then not be found. Blender's axes are the world's, its
unit is a centimetre.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
from complexion import COARSE, MIDDLE, Complexion
from numpy.typing import NDArray
from raster import Array, Camera, Geometry, Lamp, Material, Part, Rasteriser, Scene, Sky

# Blender counts the cores when it is loaded: one process, one core, as with the rasteriser.
_cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
if _cores:
    os.sched_setaffinity(0, {min(_cores)})
import bpy  # noqa: E402

if _cores:
    os.sched_setaffinity(0, _cores)

__all__ = ["PathTracer"]

_CM = 0.1  # mm to Blender's unit


class PathTracer(Rasteriser):
    """Draws the picture by Cycles; the depths, and so the labels, remain the rasteriser's.

    Parameters
    ----------
    size, samples, shadow_size, directions, tile
        Of the rasteriser.
    cfg
        Section ``cycles`` of the configuration.
    """

    def __init__(
        self, size: int, samples: int, shadow_size: int, directions: int, tile: int, cfg: dict[str, Any]
    ) -> None:
        super().__init__(size, samples, shadow_size, directions, tile)
        self.cfg = cfg
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._images: dict[Path, Any] = {}
        self._small: dict[tuple[Path, float], Any] = {}
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self._scene = scene = bpy.context.scene
        scene.render.engine = "CYCLES"
        render, cycles = scene.render, scene.cycles
        render.threads_mode, render.threads = "FIXED", 1
        render.resolution_x = render.resolution_y = size
        render.film_transparent = True
        render.use_compositing = render.use_sequencer = False
        render.use_persistent_data = cfg["persistent"]
        render.image_settings.file_format = "OPEN_EXR"
        render.image_settings.color_mode, render.image_settings.color_depth = "RGBA", "32"
        render.image_settings.exr_codec = "NONE"
        render.filepath = str(Path(folder) / "picture.exr")
        cycles.device = "CPU"
        cycles.samples = cfg["samples"]
        cycles.use_adaptive_sampling = True
        cycles.adaptive_threshold, cycles.adaptive_min_samples = cfg["adaptive_threshold"], 8
        cycles.use_denoising = cfg["denoise"]
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.denoising_prefilter, cycles.denoising_quality = cfg["prefilter"], cfg["denoise_quality"]
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, cfg["diffuse_bounces"], 1
        cycles.transmission_bounces, cycles.transparent_max_bounces = 0, cfg["transparent_bounces"]
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.sample_clamp_direct, cycles.sample_clamp_indirect = 30.0, 5.0
        cycles.use_light_tree = False
        cycles.filter_width = 1.2  # nearer to a sensor's square pixels than the default
        self._camera = self._object("camera", bpy.data.cameras.new("camera"))
        scene.camera = self._camera
        self._sun = self._object("sun", bpy.data.lights.new("sun", "SUN"))
        self._sun.rotation_mode = "QUATERNION"
        scene.world = bpy.data.worlds.new("world")
        scene.world.use_nodes = True
        scene.world.cycles.sampling_method = "MANUAL"
        scene.world.cycles.sample_map_resolution = 256
        nodes = _Nodes(scene.world.node_tree)
        self._surroundings = nodes.add("TexEnvironment")
        nodes.join(self._surroundings.outputs["Color"], nodes.tree.nodes["Background"].inputs["Color"])

    def _object(self, name: str, data: Any) -> Any:
        item = bpy.data.objects.new(name, data)
        self._scene.collection.objects.link(item)
        return item

    def render(self, scene: Scene) -> tuple[Array, Array, Array]:
        """Draw a scene; the same returns as the rasteriser's."""
        if not self._images:
            self._upload_procedural()
        self._aim(scene.camera)
        self._light(scene.lamp)
        sky = self._hang(scene.sky)
        objects = [item for part in scene.parts for item in self._place(part, scene)]
        # Every picture has its own noise, and always the same.
        self._scene.cycles.seed = int(abs(scene.camera.distance) * 1e4) % (1 << 31)
        with _quiet():
            bpy.ops.render.render(write_still=True)
        for item in objects:
            mesh, material = item.data, item.data.materials[0]
            bpy.data.objects.remove(item)
            bpy.data.meshes.remove(mesh)
            bpy.data.materials.remove(material)
        bpy.data.images.remove(sky)
        with OpenEXR.File(self._scene.render.filepath) as file:
            rgba = np.asarray(file.channels()["RGBA"].pixels, np.float32)
        image = rgba[..., :3] + (1 - rgba[..., 3:].clip(0, 1)) * scene.background
        return image, *self.depths(scene)

    # ---------------------------------------------------------------- camera and light

    def _aim(self, camera: Camera) -> None:
        data, size = self._camera.data, camera.size
        data.sensor_fit, data.sensor_width = "HORIZONTAL", 36.0
        data.lens = 36.0 * camera.focal / size
        data.shift_x = 0.5 - (camera.centre[0] + 0.5) / size
        data.shift_y = (camera.centre[1] + 0.5) / size - 0.5
        data.clip_start, data.clip_end = 1.0, 1e4
        self._camera.location = (0.0, 0.0, camera.distance * _CM)

    def _light(self, lamp: Lamp) -> None:
        power = float(lamp.colour.max())
        self._sun.hide_render = power <= 0
        if power > 0:
            # The rasteriser leaves out the division by pi.
            self._sun.data.energy = np.pi * power
            self._sun.data.color = (lamp.colour / power).tolist()
        # The rasteriser's softness is a share of 400 mm; a shadow falls some 60 mm behind what casts it.
        self._sun.data.angle = 2 * float(np.arctan(lamp.softness * 400 / 60))
        self._sun.rotation_quaternion = _turn_to(lamp.direction)

    def _hang(self, sky: Sky) -> Any:
        h, w = 128, 256
        longitude = (0.5 - (np.arange(w) + 0.5) / w) * 2 * np.pi
        latitude = ((np.arange(h) + 0.5) / h - 0.5)[:, None] * np.pi
        directions = np.stack(
            np.broadcast_arrays(
                np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
            ),
            -1,
        )
        picture = np.ones((h, w, 4), np.float32)
        picture[..., :3] = sky.radiance(directions)
        image = bpy.data.images.new("sky", w, h, float_buffer=True)
        image.colorspace_settings.name = "Non-Color"
        image.pixels.foreach_set(picture.ravel())
        image.update()
        self._surroundings.image = image
        return image

    # ---------------------------------------------------------------- parts

    def _place(self, part: Part, scene: Scene) -> Iterator[Any]:
        """Make the objects of a part: its surface, and the shells of a beard."""
        g = part.geometry
        numbers: dict[str, NDArray] = {}
        hairy = np.zeros(len(g.position), np.float32)
        if part.mask is not None:
            hairy = (part.mask[:, :3] @ scene.beard).astype(np.float32)
            numbers = {"hairy": hairy, "cloth": part.mask[:, 3]}
        item = self._object(part.key, _mesh(part.key, g, numbers))
        item.data.materials.append(
            self._skin(part.material, scene, float(scene.beard.max()) > 0)
            if part.mask is not None
            else self._surface(part)
        )
        # Brows, lashes and clear glasses darken what is behind them less than their cards would.
        item.visible_shadow = part.casts or part.material.mode == "opaque"
        yield item
        count, length = part.shells
        if count and part.shell_triangles is not None and hairy.max() * 1.2 > 0.1 + 1 / count:
            # Where no strand reaches the first layer, it would only be looked through.
            grown = part.shell_triangles[hairy[part.shell_triangles].max(1) * 1.2 > 0.1 + 1 / count]
            keep, triangles = np.unique(grown, return_inverse=True)
            triangles = triangles.reshape(-1, 3)
            n = len(keep)
            layers = np.arange(1, count + 1) / count
            stack = Geometry(
                np.concatenate([g.position[keep] + g.normal[keep] * (length * x) for x in layers]),
                np.tile(g.normal[keep], (count, 1)),
                np.tile(g.uv[keep], (count, 1)),
                np.concatenate([triangles + k * n for k in range(count)]).astype(np.int32),
            )
            numbers = {
                "hairy": np.tile(hairy[keep], count), "layer": np.repeat(layers, n).astype(np.float32)
            }  # fmt: skip
            item = self._object("shells", _mesh("shells", stack, numbers))
            item.data.materials.append(self._shells(part.material, scene))
            yield item

    def _surface(self, part: Part) -> Any:
        """Make the material of anything but skin."""
        m = part.material
        nodes, bsdf, albedo, alpha = self._painted(part.key, m)
        lens, eye = part.key == "~lens", m.mode == "blend" and part.role == "face"
        # The rasteriser, which sees too little shadow between the lids, needs darker eyes.
        # Clear glass is seen by what it reflects, not by the veil that stands for it there.
        shade = 1.4 if eye else 0.15 if lens and not part.casts else 1.0
        nodes.set(bsdf, "Base Color", albedo if shade == 1 else nodes.times(albedo, [shade] * 3))
        nodes.set(bsdf, "Roughness", m.roughness)
        # A card of hair is no smooth sheet, and the eye's gloss is that of the cornea.
        matt = 0.0 if lens else 0.4 if eye or m.mode == "coverage" else 1.0
        nodes.set(bsdf, "Specular IOR Level", matt * _specular(m.specular))
        if alpha is None and m.opacity < 1:
            alpha = m.opacity
        elif alpha is not None and m.opacity < 1:
            alpha = nodes.math("MULTIPLY", alpha, m.opacity)
        if alpha is not None and m.cut > 0 and not isinstance(alpha, float):
            alpha = nodes.math("MULTIPLY", alpha, nodes.math("GREATER_THAN", alpha, m.cut))
        if m.edge > -10:
            uv = nodes.add("UVMap")
            inside = nodes.math("GREATER_THAN", nodes.split(uv.outputs["UV"])[0], m.edge)
            alpha = inside if alpha is None else nodes.math("MULTIPLY", alpha, inside)
        if alpha is not None:
            nodes.set(bsdf, "Alpha", alpha)
        if eye:  # the cornea; as a mesh of its own its noise would not be removed
            nodes.set(bsdf, "Coat Weight", 1.0)
            nodes.set(bsdf, "Coat Roughness", 0.06)
        if lens:
            gloss = nodes.add("BsdfGlossy")
            nodes.set(gloss, "Roughness", 0.15)
            facing = nodes.add("Fresnel")
            nodes.set(facing, "IOR", 1.4)
            mix = nodes.add("MixShader")
            nodes.set(mix, 0, nodes.math("MULTIPLY", facing.outputs[0], 0.35))
            nodes.set(mix, 1, bsdf.outputs[0])
            nodes.set(mix, 2, gloss.outputs[0])
            nodes.finish(mix)
        return nodes.owner

    def _skin(self, m: Material, scene: Scene, bearded: bool) -> Any:
        """Make the material of the skin: wrinkles, stubble, light under it, clothes below the neck."""
        nodes, bsdf, albedo, _ = self._painted("skin", m, scene.complexion)
        detail = nodes.image(self._procedural["detail"])
        w = [float(x) for x in scene.wrinkle]
        height = nodes.dot(detail.outputs["Color"], w[:3])
        height = nodes.math("ADD", height, nodes.math("MULTIPLY", detail.outputs["Alpha"], w[3]))
        height = nodes.math("SUBTRACT", nodes.math("MULTIPLY", height, 2.0), sum(w))
        groove = nodes.math("MULTIPLY", height, -2.0, clamp=True)
        specular: Any = _specular(m.specular)
        made_up = scene.makeup
        if made_up.strength.any():
            painted = nodes.image(self._procedural["makeup"])
            lips, lids, edges = nodes.split(painted.outputs["Color"])
            areas = (painted.outputs["Alpha"], lids, lips, edges)
            colours = (made_up.cheeks, made_up.lids, made_up.lips, np.full(3, 0.015))
            strengths = made_up.strength[[3, 1, 0, 2]].tolist()
            for area, strength, colour in zip(areas, strengths, colours, strict=True):
                albedo = nodes.mix(nodes.math("MULTIPLY", area, strength), albedo, colour.tolist())
            glossy = _specular(m.specular + made_up.gloss) - specular
            shine = nodes.math("MULTIPLY", lips, glossy * float(made_up.strength[0]))
            specular = nodes.math("ADD", shine, specular)
        albedo = nodes.times(albedo, nodes.math("SUBTRACT", 1.0, nodes.math("MULTIPLY", groove, 0.30)))
        cloth = nodes.math("GREATER_THAN", nodes.attribute("cloth"), 0.5)
        strand = self._strand(nodes)
        if bearded:
            hairy = nodes.math("ADD", nodes.attribute("hairy"), 0.0, clamp=True)
            cover = nodes.math("MULTIPLY", hairy, nodes.step(strand, 0.30, 0.62))
            dark = (scene.hair_colour * 0.8).tolist()
            albedo = nodes.mix(nodes.math("MULTIPLY", cover, 0.75), albedo, dark)
        woven = nodes.times(scene.cloth.tolist(), nodes.math("ADD", nodes.math("MULTIPLY", strand, 0.4), 0.8))
        nodes.set(bsdf, "Base Color", nodes.mix(cloth, albedo, woven))
        bare = nodes.math("SUBTRACT", 1.0, cloth)
        nodes.set(bsdf, "Specular IOR Level", nodes.math("MULTIPLY", bare, specular))
        nodes.set(bsdf, "Roughness", m.roughness)
        bsdf.subsurface_method = self.cfg["subsurface_method"]
        nodes.set(bsdf, "Subsurface Weight", nodes.math("MULTIPLY", bare, self.cfg["subsurface"]))
        nodes.set(bsdf, "Subsurface Radius", self.cfg["subsurface_radius"])
        nodes.set(bsdf, "Subsurface Scale", _CM)
        bump = nodes.add("Bump")
        nodes.set(bump, "Distance", _CM)
        nodes.set(bump, "Height", nodes.math("MULTIPLY", height, bare))
        nodes.set(bsdf, "Normal", bump.outputs[0])
        return nodes.owner

    def _shells(self, m: Material, scene: Scene) -> Any:
        """Make the material of a beard's layers: fewer strands the farther out."""
        nodes = _Nodes.of_material("shells")
        bsdf = nodes.add("BsdfPrincipled")
        nodes.finish(bsdf)
        strand, layer = self._strand(nodes), nodes.attribute("layer")
        length = nodes.math("MULTIPLY", strand, 0.9)
        length = nodes.math("MULTIPLY", nodes.math("ADD", length, 0.3), nodes.attribute("hairy"))
        reached = nodes.math("LESS_THAN", layer, nodes.math("SUBTRACT", length, 0.1))
        least = nodes.math("ADD", nodes.math("MULTIPLY", layer, 0.34), 0.28)
        there = nodes.math("GREATER_THAN", strand, least)
        nodes.set(bsdf, "Alpha", nodes.math("MULTIPLY", reached, there))
        shade = nodes.math("ADD", nodes.math("MULTIPLY", strand, 1.1), 0.25)
        nodes.set(bsdf, "Base Color", nodes.times(scene.hair_colour.tolist(), shade))
        nodes.set(bsdf, "Roughness", m.roughness)
        nodes.set(bsdf, "Specular IOR Level", _specular(0.3 * m.specular))
        return nodes.owner

    def _painted(
        self, name: str, m: Material, complexion: Complexion | None = None
    ) -> tuple[_Nodes, Any, Any, Any]:
        """Begin a material: its nodes, its principled shader, its colour, its texture's alpha (or None)."""
        nodes = _Nodes.of_material(name)
        bsdf = nodes.add("BsdfPrincipled")
        nodes.finish(bsdf)
        if m.texture is None:
            return nodes, bsdf, m.tint.tolist(), None
        texture = nodes.image(self._texture_image(m.texture))
        colour = texture.outputs["Color"]
        if complexion is not None and complexion.second is not None:
            colour = self._mixed(nodes, colour, m.texture, complexion.second, complexion)
        if m.saturation != 1:
            colour = nodes.mix(m.saturation, nodes.dot(colour, [0.3, 0.5, 0.2]), colour)
        return nodes, bsdf, nodes.times(colour, m.tint.tolist()), texture.outputs["Alpha"]

    def _mixed(self, nodes: _Nodes, colour: Any, first: Path, second: Path, complexion: Complexion) -> Any:
        """Make another skin of the first one's colour, as the rasteriser's shader does."""
        place = complexion.place.tolist()
        wide = nodes.split(self._tiled(nodes, "uneven", 4.0, place).outputs["Color"])[0]
        wide = nodes.math("MULTIPLY", nodes.math("SUBTRACT", wide, 0.5), 2.0)
        share = nodes.math("ADD", wide, complexion.share, clamp=True)
        fine = nodes.mix(share, colour, nodes.image(self._texture_image(second)).outputs["Color"])
        coarse, middle = (
            nodes.mix(
                share, *(nodes.image(self._reduced(file, level)).outputs["Color"] for file in (first, second))
            )
            for level in (COARSE, MIDDLE)
        )
        features, pores = (
            nodes.vector("POWER", nodes.vector("DIVIDE", a, b), [float(gain)] * 3)
            for a, b, gain in zip((middle, fine), (coarse, middle), complexion.gains, strict=True)
        )
        colour = nodes.times(nodes.times(coarse, features), pores)
        patches = self._tiled(nodes, "uneven", 6.0, place[::-1])
        strengths = complexion.uneven.tolist()
        x, y, z = (
            nodes.math("MULTIPLY", nodes.math("SUBTRACT", one, 0.5), 5.0 * strength)
            for one, strength in zip(nodes.split(patches.outputs["Color"]), strengths[:3], strict=True)
        )
        even = nodes.math("POWER", float(np.e), nodes.math("ADD", x, y))
        red = nodes.vector("MULTIPLY", nodes.math("MAXIMUM", z, 0.0), [0.3, -0.7, -0.5])
        red = nodes.vector("POWER", [float(np.e)] * 3, red)
        freckles = nodes.math("MULTIPLY", patches.outputs["Alpha"], -0.6 * strengths[3])
        freckles = nodes.vector("ADD", nodes.times([0.5, 0.8, 1.0], freckles), [1.0] * 3)
        return nodes.times(nodes.times(nodes.times(colour, even), red), freckles)

    def _strand(self, nodes: _Nodes) -> Any:
        return nodes.split(self._tiled(nodes, "strands", 8.0, [0.0, 0.0]).outputs["Color"])[0]

    def _tiled(self, nodes: _Nodes, name: str, often: float, place: list[float]) -> Any:
        """Lay a procedural texture side by side from a place on, so many times along each coordinate."""
        scaled = nodes.add("VectorMath", operation="SCALE")
        nodes.set(scaled, 0, nodes.add("UVMap").outputs["UV"])
        nodes.set(scaled, "Scale", often)
        texture = nodes.image(self._procedural[name])
        nodes.set(texture, "Vector", nodes.vector("ADD", scaled.outputs[0], [*place, 0.0]))
        return texture

    # ---------------------------------------------------------------- pictures

    def _texture_image(self, file: Path) -> Any:
        if file not in self._images:
            image = bpy.data.images.load(str(file))
            image.alpha_mode = "CHANNEL_PACKED"
            self._images[file] = image
        return self._images[file]

    def _reduced(self, file: Path, level: float) -> Any:
        """Return the picture of a file, halved so many times."""
        if (file, level) not in self._small:
            pixels = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)[::-1]
            h, w = (max(round(n / 2**level), 1) for n in pixels.shape[:2])
            small = np.ones((h, w, 4), np.float32)
            small[..., :3] = cv2.resize(pixels, (w, h), interpolation=cv2.INTER_AREA) / np.float32(255)
            image = bpy.data.images.new(file.stem, w, h)
            image.pixels.foreach_set(small.ravel())
            image.update()
            image.pack()
            self._small[file, level] = image
        return self._small[file, level]

    def _upload_procedural(self) -> None:
        """Take over the textures that `FaceFactory.prepare` gave to the rasteriser."""
        self._procedural = {}
        for name in ("detail", "strands", "makeup", "uneven"):
            texture = getattr(self, name)
            image = bpy.data.images.new(name, *texture.size, alpha=True, is_data=True)
            image.alpha_mode = "CHANNEL_PACKED"
            data = np.frombuffer(texture.read(), np.uint8).astype(np.float32) / 255
            image.pixels.foreach_set(data)
            image.update()
            image.pack()
            self._procedural[name] = image


class _Nodes:
    """Writes down a shader: values may be numbers, colours or outputs of other nodes."""

    def __init__(self, tree: Any, owner: Any = None) -> None:
        self.tree, self.owner = tree, owner

    @classmethod
    def of_material(cls, name: str) -> _Nodes:
        material = bpy.data.materials.new(name)
        material.use_nodes = True
        material.node_tree.nodes.clear()
        return cls(material.node_tree, material)

    def add(self, kind: str, **properties: Any) -> Any:
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for name, value in properties.items():
            setattr(node, name, value)
        return node

    def join(self, output: Any, entry: Any) -> None:
        self.tree.links.new(output, entry)

    def set(self, node: Any, name: str | int, value: Any) -> None:
        entry = node.inputs[name]
        if isinstance(value, bpy.types.NodeSocket):
            self.join(value, entry)
        elif isinstance(value, list) and entry.type == "RGBA" and len(value) == 3:
            entry.default_value = [*value, 1.0]
        else:
            entry.default_value = value

    def finish(self, shader: Any) -> None:
        """Let this shader be the material's surface."""
        out = self.tree.nodes.get("out") or self.add("OutputMaterial", name="out")
        self.join(shader.outputs[0], out.inputs["Surface"])

    def image(self, image: Any) -> Any:
        return self.add("TexImage", image=image)

    def math(self, operation: str, a: Any, b: Any, clamp: bool = False) -> Any:
        node = self.add("Math", operation=operation, use_clamp=clamp)
        self.set(node, 0, a)
        self.set(node, 1, b)
        return node.outputs[0]

    def dot(self, a: Any, b: Any) -> Any:
        node = self.add("VectorMath", operation="DOT_PRODUCT")
        self.set(node, 0, a)
        self.set(node, 1, b)
        return node.outputs["Value"]

    def times(self, colour: Any, factor: Any) -> Any:
        """Multiply a colour by a colour or a number."""
        return self.vector("MULTIPLY", colour, factor)

    def vector(self, operation: str, a: Any, b: Any) -> Any:
        node = self.add("VectorMath", operation=operation)
        self.set(node, 0, a)
        self.set(node, 1, b)
        return node.outputs[0]

    def mix(self, share: Any, a: Any, b: Any) -> Any:
        node = self.add("Mix", data_type="RGBA", clamp_factor=False)
        self.set(node, 0, share)
        self.set(node, 6, a)
        self.set(node, 7, b)
        return node.outputs[2]

    def step(self, value: Any, low: float, high: float) -> Any:
        node = self.add("MapRange", interpolation_type="SMOOTHSTEP")
        self.set(node, "Value", value)
        self.set(node, "From Min", low)
        self.set(node, "From Max", high)
        return node.outputs["Result"]

    def split(self, vector: Any) -> Any:
        node = self.add("SeparateXYZ")
        self.set(node, 0, vector)
        return node.outputs

    def attribute(self, name: str) -> Any:
        return self.add("Attribute", attribute_name=name).outputs["Fac"]


def _specular(strength: float) -> float:
    """Blender's level (0.5: 4 % at normal incidence) of the rasteriser's strength."""
    return min(1.3 * strength**0.5, 1.0)


def _turn_to(direction: Array) -> list[float]:
    """Quaternion that turns the z axis into this direction."""
    x, y, z = (float(a) for a in direction)
    q = np.array([1 + z, -y, x, 0.0])
    return (q / np.linalg.norm(q)).tolist()


def _mesh(name: str, g: Geometry, numbers: dict[str, NDArray]) -> Any:
    """Make a mesh with normals, texture coordinates and a number per corner for each name."""
    triangles = g.triangles.astype(np.int32)
    # Blender shades by the side that the order of the corners tells.
    p, n = g.position[triangles], g.normal[triangles].sum(1)
    away = np.einsum("ij,ij->i", np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), n) < 0
    triangles[away] = triangles[away][:, ::-1]
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(g.position))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(g.position * _CM, np.float32).ravel())
    mesh.loops.add(triangles.size)
    mesh.loops.foreach_set("vertex_index", triangles.ravel())
    mesh.polygons.add(len(triangles))
    mesh.polygons.foreach_set("loop_start", np.arange(0, triangles.size, 3, dtype=np.int32))
    uv = mesh.uv_layers.new(name="uv")
    uv.uv.foreach_set("vector", g.uv[triangles.ravel()].astype(np.float32).ravel())
    for key, values in numbers.items():
        attribute = mesh.attributes.new(key, "FLOAT", "POINT")
        attribute.data.foreach_set("value", np.ascontiguousarray(values, np.float32))
    mesh.update(calc_edges=True)
    mesh.normals_split_custom_set_from_vertices(g.normal.astype(np.float32))
    return mesh


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Blender from writing to the standard output."""
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)
