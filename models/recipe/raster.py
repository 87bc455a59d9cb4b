"""OpenGL rasteriser (moderngl, EGL; runs on llvmpipe without a GPU).

Surroundings light each vertex through the directions in which it sees them (so the light is occluded below
the chin, in the eye sockets, nostrils and mouth); one lamp casts a filtered shadow. World: mm, x right, y up,
z to the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import moderngl
import numpy as np
from complexion import COARSE, MIDDLE, Complexion
from makeup import MakeUp
from numpy.typing import NDArray

__all__ = ["Camera", "Geometry", "Lamp", "Material", "Part", "Rasteriser", "Scene", "Sky"]

Array = NDArray[np.float32]

_VERTEX = """#version 330
in vec3 p; in vec3 n; in vec3 irr; in vec3 grad; in vec2 uv; in vec4 mask;
uniform mat4 VP; uniform mat4 LVP; uniform float shell;
centroid out vec3 wn; centroid out vec3 wp; centroid out vec3 ei; centroid out vec3 eg; centroid out vec2 t;
centroid out vec4 m; centroid out vec4 lp;
void main(){ vec3 q = p + n*shell; wp=q; wn=n; ei=irr; eg=grad; t=uv; m=mask; lp=LVP*vec4(q,1);
gl_Position=VP*vec4(q,1); }
"""
_FRAGMENT = """#version 330
centroid in vec3 wn; centroid in vec3 wp; centroid in vec3 ei; centroid in vec3 eg; centroid in vec2 t;
centroid in vec4 m; centroid in vec4 lp;
uniform sampler2D tex; uniform sampler2DShadow shadow; uniform sampler2D detail; uniform sampler2D strands;
uniform sampler2D makeup; uniform vec4 paint; uniform vec3 lips; uniform vec3 lids; uniform vec3 cheeks;
uniform float gloss;
uniform vec3 L; uniform vec3 LC; uniform float soft; uniform vec3 eye;
uniform vec3 tint; uniform float saturation; uniform float rough; uniform float spec; uniform float cut;
uniform float opacity;
uniform vec4 wrinkle; uniform vec3 beard; uniform vec3 hair; uniform vec3 cloth; uniform float layer;
uniform int skin; uniform float edge;
uniform sampler2D second; uniform sampler2D uneven; uniform float share; uniform vec2 gains;
uniform vec4 patches; uniform vec2 place;
out vec4 o;
vec3 linear(vec3 c){ return pow(max(c,1e-4),vec3(2.2)); }
vec3 painted(float level, float share){
  return mix(linear(textureLod(tex,t,level).rgb),linear(textureLod(second,t,level).rgb),share);
}
void main(){
  if(t.x<edge) discard;
  vec4 a = texture(tex,t); float alpha = a.a*opacity; if(alpha<cut) discard;
  vec3 alb = linear(a.rgb);
  if(skin==1 && share>=0.){
    vec4 u = texture(uneven,t*4.+place); float w = clamp(share+2.*(u.x-.5),0.,1.);
    alb = mix(alb,linear(texture(second,t).rgb),w);
    vec3 coarse = painted(COARSE,w), middle = painted(MIDDLE,w);
    alb = coarse*pow(middle/coarse,vec3(gains.x))*pow(alb/middle,vec3(gains.y));
    vec4 v = (texture(uneven,t*6.+place.yx)-vec4(.5,.5,.5,0.))*vec4(5.,5.,5.,1.)*patches;
    alb *= exp(vec3(v.x+v.y)+max(v.z,0.)*vec3(.3,-.7,-.5))*(1.-.6*v.w*vec3(.5,.8,1.));
  }
  float grey = dot(alb,vec3(.3,.5,.2)); alb = mix(vec3(grey),alb,saturation)*tint;
  vec3 N = wn/max(length(wn),1e-4); vec3 V = normalize(eye-wp); if(dot(N,V)<0.) N=-N;
  vec3 B = N; float s_spec = spec; float s_rough = rough;
  if(skin==1){
    vec4 d = texture(detail,t)*2.-1.; float h = dot(d,wrinkle);
    vec3 dx=dFdx(wp), dy=dFdy(wp); vec3 r1=cross(dy,N), r2=cross(N,dx); float det=dot(dx,r1);
    vec3 g = sign(det)*(dFdx(h)*r1+dFdy(h)*r2); B = normalize(max(abs(det),1e-3)*N-g);
    if(dot(B,N)<.3) B=N;
    vec4 k = texture(makeup,t)*paint; alb = mix(alb,cheeks,k.w); alb = mix(alb,lids,k.y);
    alb = mix(mix(alb,lips,k.x),vec3(.015),k.z); s_spec += gloss*k.x;
    alb *= 1.-.30*clamp(-h*2.,0.,1.);
    float hairy = dot(m.xyz,beard); float st = texture(strands,t*8.).r;
    // Hair is shorter towards the beard's edge.
    if(layer>0.){ if(layer > hairy*(.3+.9*st)-.1 || st < .28+.34*layer) discard;
    alb = hair*(.25+1.1*st); s_spec*=.3; alpha=1.; }
    else { float c = clamp(hairy,0.,1.)*smoothstep(.30,.62,st); alb = mix(alb,hair*.8,c*.75);
    s_spec*=1.-.6*clamp(hairy,0.,1.); }
    if(m.w>.5){ alb=cloth*(.8+.4*st); s_spec=0.; B=N; }
  }
  vec3 E = max(ei,0.)*clamp(1.+dot(eg,B-N),.3,1.8);
  float nl=dot(B,L); float s=0.;
  if(nl>-.25 && LC.g>0.){
    vec3 q = lp.xyz*.5+.5; q.z-=.006;
    s=texture(shadow,q);
    if(skin==1) s+=texture(shadow,q+vec3(.9,.4,0)*soft)+texture(shadow,q+vec3(-.4,.9,0)*soft)
      +texture(shadow,q+vec3(-.9,-.4,0)*soft)+texture(shadow,q+vec3(.4,-.9,0)*soft);
    if(skin==1) s*=.2;
  }
  vec3 w = skin==1 ? vec3(.22,.08,.04) : vec3(.05); vec3 diff=clamp((vec3(nl)+w)/(1.+w),0.,1.);
  vec3 H=(L+V)/max(length(L+V),1e-4); float k=2./(s_rough*s_rough*s_rough*s_rough+1e-3);
  float sp=s_spec*(k+8.)/25.*pow(clamp(dot(B,H),1e-4,1.),k)*max(nl,0.);
  float F=.04+.5*pow(clamp(1.-dot(B,V),0.,1.),5.);
  o=vec4(alb*(E/3.14159+LC*diff*s)+LC*sp*s+F*s_spec*E/3.14159,alpha);
}
""".replace("COARSE", str(COARSE)).replace("MIDDLE", str(MIDDLE))
_DEPTH_VERTEX = """#version 330
in vec3 p; in vec2 uv; uniform mat4 VP; out vec2 t; void main(){ t=uv; gl_Position=VP*vec4(p,1); }
"""
_DEPTH_FRAGMENT = """#version 330
in vec2 t; uniform sampler2D tex; uniform float cut; uniform float edge;
void main(){ if(t.x<edge) discard; if(cut>0. && texture(tex,t).a<cut) discard; }
"""
_BACK_VERTEX = """#version 330
in vec2 p; out vec2 t; void main(){ t=p*.5+.5; gl_Position=vec4(p,.99999,1); }
"""
_BACK_FRAGMENT = """#version 330
in vec2 t; uniform sampler2D tex; out vec4 o; void main(){ o=vec4(texture(tex,t).rgb,1); }
"""
_UV_VERTEX = """#version 330
in vec3 p; in vec2 uv; out vec3 w; void main(){ w=p; gl_Position=vec4(uv*2.-1.,0,1); }
"""
_UV_FRAGMENT = """#version 330
in vec3 w; out vec4 o; void main(){ o=vec4(w,1); }
"""


@dataclass
class Geometry:
    """Corners with normals and texture coordinates, and triangles of corner indices."""

    position: Array
    normal: Array
    uv: Array
    triangles: NDArray[np.int32]


@dataclass
class Material:
    """How a part reflects. ``texture`` is a file or one grey value."""

    texture: Path | None = None
    tint: Array = field(default_factory=lambda: np.ones(3, np.float32))
    saturation: float = 1.0
    roughness: float = 0.6
    specular: float = 0.1
    opacity: float = 1.0
    cut: float = 0.0
    edge: float = -10.0
    """Nothing is drawn where the first texture coordinate is smaller (a smooth border)."""
    closed: bool = False
    """A closed surface: its far side need not be drawn."""
    mode: str = "opaque"
    """``opaque``, ``blend`` (over what is drawn before) or ``coverage`` (cards of hair)."""


@dataclass
class Part:
    """A drawn piece. ``role``: ``face`` (hides landmarks by itself), ``occluder`` (hides them), ``none``."""

    key: str
    geometry: Geometry
    material: Material
    role: str = "none"
    casts: bool = True
    coarse: bool = False
    """Every other triangle suffices to shade others (dense layers of hair)."""
    mask: Array | None = None
    shells: tuple[int, float] = (0, 0.0)
    shell_triangles: NDArray[np.int32] | None = None


@dataclass
class Camera:
    """Pinhole at (0, 0, distance), looking at the face; principal point in px (integer = pixel centre)."""

    distance: float
    focal: float
    size: int
    centre: tuple[float, float]

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Image positions (n, 2), 0-based px, x right, y down, integer = pixel centre."""
        depth = self.distance - points[:, 2]
        return np.c_[
            self.centre[0] + self.focal * points[:, 0] / depth,
            self.centre[1] - self.focal * points[:, 1] / depth,
        ]

    def clip_matrix(self) -> NDArray[np.float64]:
        """OpenGL projection times view; row 0 of the image is the top."""
        n, f, s = 0.45 * self.distance, self.distance + 1500.0, self.size
        a, b = 2 * self.focal / s, 2 * self.focal / s
        x0, y0 = (2 * self.centre[0] + 1) / s - 1, 1 - (2 * self.centre[1] + 1) / s
        projection = np.array(
            [[a, 0, -x0, 0], [0, b, -y0, 0], [0, 0, -(f + n) / (f - n), -2 * f * n / (f - n)], [0, 0, -1, 0]]
        )
        view = np.eye(4)
        view[2, 3] = -self.distance
        return projection @ view

    def linear_depth(self, window: Array) -> Array:
        """Distance along the axis of a depth buffer's values."""
        n, f = 0.45 * self.distance, self.distance + 1500.0
        return (2 * f * n / ((f + n) - (2 * window - 1) * (f - n))).astype(np.float32)


@dataclass
class Lamp:
    """A distant lamp: unit direction towards it, colour, softness of its shadow's edge."""

    direction: Array
    colour: Array
    softness: float


@dataclass
class Sky:
    """The surroundings as a picture; `Scene.radiance` is what the rasteriser knows of them."""

    image: Array
    """Equirectangular, (h, w, 3): the top row is up, the columns go from x to z."""
    turn: NDArray[np.float64]
    """Rotation of the picture's axes into the world."""
    haze: Array
    """Light that comes evenly from everywhere, (3,)."""
    lobes: list[tuple[Array, float, float]] = field(default_factory=list)
    """Large soft lamps: direction towards it, sharpness, light (radiance times solid angle)."""

    def radiance(self, directions: NDArray[np.floating]) -> Array:
        """Light from unit directions of the world, (..., 3)."""
        d = directions @ self.turn
        h, w = self.image.shape[:2]
        column = np.arctan2(d[..., 2], d[..., 0]) % (2 * np.pi) / (2 * np.pi) * w - 0.5
        row = np.arccos(np.clip(d[..., 1], -1, 1)) / np.pi * h - 0.5
        wide = np.concatenate([self.image[:, -1:], self.image, self.image[:, :1]], 1)
        light = cv2.remap(
            wide, (column + 1).astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        light = light.reshape(directions.shape) + self.haze  # OpenCV's pictures have two axes
        for towards, sharpness, power in self.lobes:
            lobe = np.exp(sharpness * (directions @ towards - 1))
            whole = 2 * np.pi * (1 - np.exp(-2 * sharpness)) / sharpness
            light = light + (power * lobe / whole)[..., None]
        return np.asarray(light, np.float32)


@dataclass
class Scene:
    """All that one picture shows."""

    parts: list[Part]
    camera: Camera
    lamp: Lamp
    radiance: Array
    """Light from each of the rasteriser's directions (radiance times solid angle), shape (d, 3)."""
    background: Array
    wrinkle: Array
    beard: Array
    hair_colour: Array
    cloth: Array
    sky: Sky
    makeup: MakeUp = field(default_factory=MakeUp)
    complexion: Complexion = field(default_factory=Complexion)


def fibonacci_sphere(n: int) -> Array:
    """Evenly spread unit vectors, shape (n, 3)."""
    i = np.arange(n) + 0.5
    z, phi = 1 - 2 * i / n, np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    return np.c_[r * np.cos(phi), z, r * np.sin(phi)].astype(np.float32)


def _bytes(matrix: NDArray) -> bytes:
    return np.ascontiguousarray(np.asarray(matrix, np.float32).T).tobytes()


def _orthographic(direction: Array, half: float, depth: float) -> NDArray[np.float64]:
    z = np.asarray(direction, float)
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.95 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    view = np.eye(4)
    view[:3, :3] = np.stack([x, np.cross(z, x), z])
    return np.diag([1 / half, 1 / half, -1 / depth, 1.0]) @ view


class Rasteriser:
    """Holds the OpenGL context, programs and textures."""

    def __init__(self, size: int, samples: int, shadow_size: int, directions: int, tile: int) -> None:
        self.size, self.tile = size, tile
        self.ctx = ctx = moderngl.create_context(standalone=True, backend="egl")
        self._program = ctx.program(_VERTEX, _FRAGMENT)
        self._depth_program = ctx.program(_DEPTH_VERTEX, _DEPTH_FRAGMENT)
        self._back_program = ctx.program(_BACK_VERTEX, _BACK_FRAGMENT)
        self._back_vao = ctx.vertex_array(
            self._back_program, [(ctx.buffer(np.array([-1, -1, 3, -1, -1, 3], "f4").tobytes()), "2f", "p")]
        )
        self._multi = ctx.framebuffer(
            [ctx.renderbuffer((size, size), 4, samples=samples, dtype="f2")],
            ctx.depth_renderbuffer((size, size), samples=samples),
        )
        self._resolved = ctx.framebuffer([ctx.texture((size, size), 4, dtype="f2")])
        self._depth_texture = ctx.depth_texture((size, size))
        self._depth = ctx.framebuffer(depth_attachment=self._depth_texture)
        self._shadow_texture = ctx.depth_texture((shadow_size, shadow_size))
        self._shadow_texture.compare_func = "<="
        self._shadow = ctx.framebuffer(depth_attachment=self._shadow_texture)
        self.directions = fibonacci_sphere(directions)
        self._columns = int(np.ceil(directions**0.5))
        rows = -(-directions // self._columns)
        self._atlas_texture = ctx.depth_texture((self._columns * tile, rows * tile))
        self._atlas = ctx.framebuffer(depth_attachment=self._atlas_texture)
        self._back_texture = ctx.texture((size, size), 3, dtype="f2")
        self._white = ctx.texture((1, 1), 4, b"\xff\xff\xff\xff")
        self._textures: dict[Path, moderngl.Texture] = {}
        self._static: dict[str, tuple[moderngl.Buffer, ...]] = {}
        self.detail = self._white
        self.strands = self._white
        self.makeup = self._white
        self.uneven = self._white
        self._views = [_orthographic(d, 190.0, 400.0) for d in self.directions]

    def texture(self, file: Path | None) -> moderngl.Texture:
        """Load the texture of a file, at most 2048 px (1024 px unless it is a skin), kept on the device."""
        if file is None:
            return self._white
        if file not in self._textures:
            image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            if image is None:
                raise FileNotFoundError(f"cannot read the texture {file}")
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
            if image.shape[0] > 1024 and "skins" not in file.parts:
                image = cv2.resize(image, (1024, 1024), interpolation=cv2.INTER_AREA)
            self._textures[file] = self.upload(image[::-1])
        return self._textures[file]

    def upload(self, image: NDArray[np.uint8], repeat: bool = False) -> moderngl.Texture:
        """Make a mipmapped texture of an RGBA image whose row 0 is the bottom."""
        texture = self.ctx.texture(image.shape[1::-1], 4, np.ascontiguousarray(image).tobytes())
        texture.build_mipmaps()
        texture.repeat_x = texture.repeat_y = repeat
        return texture

    def positions_in_texture(self, geometry: Geometry, size: int) -> Array:
        """Find every texel's position on the surface, (size, size, 4); last channel 1 where there is one."""
        program = self.ctx.program(_UV_VERTEX, _UV_FRAGMENT)
        target = self.ctx.framebuffer([self.ctx.texture((size, size), 4, dtype="f4")])
        data = np.c_[geometry.position, geometry.uv].astype("f4")
        vao = self.ctx.vertex_array(
            program,
            [(self.ctx.buffer(data.tobytes()), "3f 2f", "p", "uv")],
            self.ctx.buffer(geometry.triangles.tobytes()),
        )
        target.use()
        target.clear(0, 0, 0, 0)
        self.ctx.disable(moderngl.DEPTH_TEST | moderngl.CULL_FACE | moderngl.BLEND)
        vao.render()
        return np.frombuffer(target.read(components=4, dtype="f4"), np.float32).reshape(size, size, 4)

    def _static_buffers(self, part: Part) -> tuple[moderngl.Buffer, ...]:
        if part.key not in self._static or part.key.startswith("~"):
            g = part.geometry
            mask = part.mask if part.mask is not None else np.zeros((len(g.uv), 4), np.float32)
            buffers = [
                self.ctx.buffer(np.c_[g.uv, mask].astype("f4").tobytes()),
                self.ctx.buffer(g.triangles.tobytes()),
            ]
            if part.shell_triangles is not None:
                buffers.append(self.ctx.buffer(part.shell_triangles.tobytes()))
            if part.key.startswith("~"):
                return tuple(buffers)
            self._static[part.key] = tuple(buffers)
        return self._static[part.key]

    def sky(self, parts: list[Part], radiance: Array) -> list[tuple[Array, Array]]:
        """Irradiance (c, 3) and its relative gradient with the normal (c, 3) at the corners of each part."""
        casters = sorted((p for p in parts if p.casts), key=lambda p: not p.material.closed)
        closed = 3 * sum(len(p.geometry.triangles) for p in casters if p.material.closed)
        position = np.concatenate([p.geometry.position for p in casters])
        start = np.cumsum([0] + [len(p.geometry.position) for p in casters[:-1]])
        index = np.concatenate(
            [p.geometry.triangles[:: 2 if p.coarse else 1] + s for p, s in zip(casters, start, strict=True)]
        ).astype("i4")
        vbo, ibo = self.ctx.buffer(position.astype("f4").tobytes()), self.ctx.buffer(index.tobytes())
        vao = self.ctx.vertex_array(self._depth_program, [(vbo, "3f", "p")], ibo)
        ctx, tile = self.ctx, self.tile
        self._atlas.use()
        self._atlas.clear(depth=1.0)
        ctx.enable_only(moderngl.DEPTH_TEST)
        self._depth_program["cut"], self._depth_program["edge"] = 0.0, -10.0
        for k, view in enumerate(self._views):
            r, c = divmod(k, self._columns)
            self._atlas.viewport = (c * tile, r * tile, tile, tile)
            self._depth_program["VP"].write(_bytes(view))
            ctx.enable(moderngl.CULL_FACE)
            vao.render(vertices=closed)
            ctx.disable(moderngl.CULL_FACE)
            if index.size > closed:
                vao.render(vertices=index.size - closed, first=closed)
        self._atlas.viewport = (0, 0, *self._atlas_texture.size)
        atlas = np.frombuffer(self._atlas_texture.read(), np.float32).reshape(self._atlas_texture.size[::-1])
        for item in (vao, vbo, ibo):
            item.release()
        return [self._sky_of(p.geometry, atlas, radiance) for p in parts]

    def _sky_of(self, g: Geometry, atlas: Array, radiance: Array) -> tuple[Array, Array]:
        tile = self.tile
        facing = g.normal @ self.directions.T
        seen = np.empty_like(facing)
        start = g.position + 1.5 * g.normal
        for k, view in enumerate(self._views):
            v = view.astype(np.float32)
            q = start @ v[:3, :3].T
            column = ((q[:, 0] * 0.5 + 0.5) * tile).astype(np.int32).clip(0, tile - 1)
            row = ((q[:, 1] * 0.5 + 0.5) * tile).astype(np.int32).clip(0, tile - 1)
            r, c = divmod(k, self._columns)
            blocker = atlas[r * tile + row, c * tile + column]
            # Soft comparison: 0 at 5 mm behind the first surface, 1 at 1 mm behind it.
            gap = (q[:, 2] * 0.5 + 0.5 - blocker) * 800.0
            seen[:, k] = np.clip((5.0 - gap) * 0.25, 0, 1)
        lit = np.maximum(facing, 0) * seen
        irradiance = lit @ radiance
        # What does not come from the sky comes once more from lit skin, dimmer and redder.
        total = radiance.sum(0) / (4 * np.pi)
        open_share = (np.maximum(facing, 0) * seen).sum(1) * (4 / len(self.directions))
        bounce = (
            (1 - open_share.clip(0, 1))[:, None] * np.pi * total * np.array([0.16, 0.11, 0.09], np.float32)
        )
        luminance = radiance.mean(1)
        gradient = ((seen * (facing > 0)) * luminance) @ self.directions
        gradient /= (lit @ luminance)[:, None] + 0.15 * luminance.sum() / 4
        return (irradiance + bounce).astype(np.float32), gradient.astype(np.float32)

    def render(self, scene: Scene) -> tuple[Array, Array, Array]:
        """Draw a scene.

        Returns
        -------
        image
            Linear RGB, (size, size, 3).
        face_depth, occluder_depth
            Distance of the nearest point of the face, and of the nearest occluder, (size, size), mm.
        """
        drawn, temporary = self._upload(scene.parts, self.sky(scene.parts, scene.radiance))
        light_view = _orthographic(scene.lamp.direction, 200.0, 400.0)
        self._shadow_pass(drawn, light_view)
        clip = scene.camera.clip_matrix()
        image = self._colour_pass(scene, drawn, clip, light_view)
        depths = [self._depth_pass(drawn, clip, role, scene.camera) for role in ("face", "occluder")]
        for item in reversed(temporary):
            item.release()
        return image, depths[0], depths[1]

    def depths(self, scene: Scene) -> tuple[Array, Array]:
        """Return what `render` returns after the image, without drawing it."""
        dark = [(np.zeros_like(p.geometry.position), np.zeros_like(p.geometry.position)) for p in scene.parts]
        drawn, temporary = self._upload(scene.parts, dark)
        clip = scene.camera.clip_matrix()
        face, occluder = (self._depth_pass(drawn, clip, role, scene.camera) for role in ("face", "occluder"))
        for item in reversed(temporary):
            item.release()
        return face, occluder

    def _upload(self, parts: list[Part], light: list[tuple[Array, Array]]) -> tuple[list, list]:
        """Make vertex arrays of each part (colour, depth, shells), and a list of what to release."""
        ctx, program = self.ctx, self._program
        drawn = []
        temporary: list[moderngl.Buffer | moderngl.VertexArray] = []
        for part, (irradiance, gradient) in zip(parts, light, strict=True):
            g = part.geometry
            dynamic = ctx.buffer(
                np.concatenate([g.position, g.normal, irradiance, gradient], 1).astype("f4").tobytes()
            )
            static = self._static_buffers(part)
            layout = [(dynamic, "3f 3f 3f 3f", "p", "n", "irr", "grad"), (static[0], "2f 4f", "uv", "mask")]
            colour = ctx.vertex_array(program, layout, static[1])
            depth = ctx.vertex_array(
                self._depth_program, [(dynamic, "3f 36x", "p"), (static[0], "2f 16x", "uv")], static[1]
            )
            shell = (
                ctx.vertex_array(program, layout, static[2]) if len(static) > 2 and part.shells[0] else None
            )
            drawn.append((part, colour, depth, shell))
            temporary += [dynamic, colour, depth] + ([shell] if shell else [])
            if part.key.startswith("~"):
                temporary += list(static)
        return drawn, temporary

    def _draw_depth(self, part: Part, vao: moderngl.VertexArray) -> None:
        self._depth_program["cut"] = 0.35 if part.material.mode != "opaque" and part.material.texture else 0.0
        self._depth_program["edge"] = part.material.edge
        self.texture(part.material.texture).use(0)
        vao.render()

    def _shadow_pass(self, drawn: list, view: NDArray) -> None:
        self._shadow.use()
        self._shadow.clear(depth=1.0)
        self.ctx.enable_only(moderngl.DEPTH_TEST)
        self._depth_program["VP"].write(_bytes(view))
        for part, _, depth, _ in drawn:
            if part.casts:
                self._draw_depth(part, depth)

    def _depth_pass(self, drawn: list, clip: NDArray, role: str, camera: Camera) -> Array:
        self._depth.use()
        self._depth.clear(depth=1.0)
        self.ctx.enable_only(moderngl.DEPTH_TEST)
        self._depth_program["VP"].write(_bytes(clip))
        for part, _, depth, _ in drawn:
            if part.role == role:
                self._draw_depth(part, depth)
        window = np.frombuffer(self._depth_texture.read(), np.float32).reshape(self.size, self.size)[::-1]
        return camera.linear_depth(window)

    def _colour_pass(self, scene: Scene, drawn: list, clip: NDArray, light_view: NDArray) -> Array:
        ctx, program = self.ctx, self._program
        sample_alpha_to_coverage = 0x809E
        self._multi.use()
        self._multi.clear(0, 0, 0, 1, depth=1.0)
        ctx.enable_only(moderngl.NOTHING)
        self._back_texture.write(np.ascontiguousarray(scene.background[::-1], np.float16).tobytes())
        self._back_texture.use(0)
        self._back_vao.render()
        ctx.enable_only(moderngl.DEPTH_TEST)
        program["VP"].write(_bytes(clip))
        program["LVP"].write(_bytes(light_view))
        program["L"] = tuple(map(float, scene.lamp.direction))
        program["LC"] = tuple(map(float, scene.lamp.colour))
        program["soft"] = scene.lamp.softness
        program["eye"] = (0.0, 0.0, scene.camera.distance)
        for unit, name in enumerate(("tex", "shadow", "detail", "strands", "makeup", "second", "uneven")):
            program[name] = unit
        self._shadow_texture.use(1)
        self.detail.use(2)
        self.strands.use(3)
        self.makeup.use(4)
        complexion = scene.complexion
        self.texture(complexion.second).use(5)
        self.uneven.use(6)
        program["share"] = -1.0 if complexion.plain else complexion.share
        program["gloss"] = scene.makeup.gloss
        for name, value in (
            ("wrinkle", scene.wrinkle),
            ("beard", scene.beard),
            ("hair", scene.hair_colour),
            ("cloth", scene.cloth),
            ("paint", scene.makeup.strength),
            ("lips", scene.makeup.lips),
            ("lids", scene.makeup.lids),
            ("cheeks", scene.makeup.cheeks),
            ("gains", complexion.gains),
            ("patches", complexion.uneven),
            ("place", complexion.place),
        ):
            program[name] = tuple(map(float, value))
        for part, colour, _, shell in drawn:
            m = part.material
            if m.closed:
                ctx.enable(moderngl.CULL_FACE)
            if m.mode == "blend":
                ctx.enable(moderngl.BLEND)
            if m.mode == "coverage":
                ctx.enable_direct(sample_alpha_to_coverage)
            self.texture(m.texture).use(0)
            program["tint"] = tuple(map(float, m.tint))
            program["saturation"], program["rough"], program["spec"] = m.saturation, m.roughness, m.specular
            program["cut"], program["opacity"], program["edge"] = m.cut, m.opacity, m.edge
            program["skin"] = int(part.mask is not None)
            program["shell"] = program["layer"] = 0.0
            colour.render()
            if shell:
                count, length = part.shells
                for k in range(1, count + 1):
                    program["layer"], program["shell"] = k / count, length * k / count
                    shell.render()
            ctx.disable(moderngl.BLEND | moderngl.CULL_FACE)
            ctx.disable_direct(sample_alpha_to_coverage)
        ctx.copy_framebuffer(self._resolved, self._multi)
        data = np.frombuffer(self._resolved.read(components=4, dtype="f2"), np.float16)
        return data.reshape(self.size, self.size, 4)[::-1, :, :3].astype(np.float32)
