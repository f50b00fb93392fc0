-- What a REST request may say beyond what the transcoder asks: no path, no field and no name that the contract lacks.
--
-- The transcoder reads JSON leniently: it drops a field of the body that it does not know, so that a misspelled
-- `limit_price` would place an order without one; of a field that stands twice it takes the last; and it takes texts
-- that are no JSON (RFC 8259). So the body is read once more here, with the contract beside it, after the call is known
-- (`:path` is the call's by now) and who calls was asked. Whatever is refused is told like a refusal of the rooms:
-- which field, and what would pass.
--
-- The renderer (services/launcher/edge_requests.py) fills the three tables from the contract.

-- What passes, by the type that the transcoder names when a value cannot be read.
local passes = {
${passing_values}
}

-- The fields of each message that a body can hold: its name, then for a message its type, then whether it is a map.
-- A type that is not in the table (a Timestamp, say) holds no fields of ours.
local messages = {
${messages}
}

-- The message in the body of each call; false for a call that takes all of its fields from the path and the query.
local bodies = {
${bodies}
}

local DEPTH_MAX = 32
local NAMES_MAX = 40

-- Fields may be written as in the contract or in lowerCamelCase, as proto3 JSON allows.
for _, message in pairs(messages) do
  message.fields, message.names = {}, {}
  for _, field in ipairs(message) do
    message.fields[field[1]] = field
    message.fields[field[1]:gsub('_(%l)', string.upper)] = field
    message.names[#message.names + 1] = field[1]
  end
end

local function quoted(text)
  text = text:gsub('[\128-\255]', '?')
  return '"' .. text:gsub('[%c"\\]', function(c) return string.format('\\u%04x', c:byte()) end) .. '"'
end

-- The error as the rooms write it. Without a field, `advice` is the whole message.
local function refusal(field, advice)
  local about, more, message = '', '', advice
  if field then
    message = field .. ': ' .. advice
    about = ',"field":' .. quoted(field)
    more = ',{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":[{"field":'
      .. quoted(field) .. ',"description":' .. quoted(advice) .. ',"reason":""}]}'
  end
  return '{"code":3,"message":' .. quoted(message)
    .. ',"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"REQUEST_UNREADABLE",'
    .. '"domain":"perpmesh","metadata":{"category":"trading"' .. about .. '}}' .. more .. ']}'
end

-- Reading. `at` is where the next byte stands; `trail` holds the names on the way down, for the refusal alone.

local function place(trail)
  return table.concat(trail):sub(2, 200)
end

local function no_json(at, wanted)
  error({advice = 'The request could not be read: the body is no JSON at byte ' .. at .. ', where ' .. wanted .. ' must stand.'})
end

local function skip(text, at)
  return text:find('[^ \t\r\n]', at) or #text + 1
end

-- Returns what stands between the quotes, as written, and where the text goes on.
local function quoted_end(text, at)
  local from = at + 1
  while true do
    local found = text:find('["\\]', from)
    if not found then no_json(#text + 1, 'a closing quote') end
    if text:byte(found) == 34 then return text:sub(at + 1, found - 1), found + 1 end
    from = found + 2
  end
end

-- A name may be written with escapes; those of ASCII are all that can spell a field of ours.
local function plain(name)
  if not name:find('\\', 1, true) then return name end
  name = name:gsub('\\u00(%x%x)', function(hex)
    local byte = tonumber(hex, 16)
    return byte < 128 and byte ~= 92 and string.char(byte) or nil
  end)
  return (name:gsub('\\(["/])', '%1'))
end

local value

local function object(text, at, kind, trail, depth)
  local message, map = kind and messages[kind.type], kind and kind.map
  local seen = {}
  at = skip(text, at + 1)
  if text:byte(at) == 125 then return at + 1 end
  while true do
    if text:byte(at) ~= 34 then no_json(at, 'a name in double quotes') end
    local name
    name, at = quoted_end(text, at)
    name = plain(name)
    trail[#trail + 1] = '.' .. name
    local inner
    if map then
      inner = {type = kind.type}
    elseif message then
      local field = message.fields[name]
      if not field then
        local names = table.concat(message.names, ', ', 1, math.min(#message.names, NAMES_MAX))
        if #message.names > NAMES_MAX then names = names .. ', and more' end
        if names == '' then names = 'none' end
        error({field = place(trail), advice = 'is not a field here; the fields are: ' .. names})
      end
      name = field[1]
      inner = field[2] and {type = field[2], map = field[3]}
    end
    if seen[name] then error({field = place(trail), advice = 'must stand once; it is given twice'}) end
    seen[name] = true
    at = skip(text, at)
    if text:byte(at) ~= 58 then no_json(at, 'a colon') end
    at = value(text, skip(text, at + 1), inner, trail, depth + 1)
    trail[#trail] = nil
    at = skip(text, at)
    local byte = text:byte(at)
    if byte == 125 then return at + 1 end
    if byte ~= 44 then no_json(at, 'a comma or the end of an object') end
    at = skip(text, at + 1)
  end
end

local function array(text, at, kind, trail, depth)
  at = skip(text, at + 1)
  if text:byte(at) == 93 then return at + 1 end
  local number = 0
  while true do
    trail[#trail + 1] = '[' .. number .. ']'
    at = skip(text, value(text, at, kind, trail, depth + 1))
    trail[#trail] = nil
    local byte = text:byte(at)
    if byte == 93 then return at + 1 end
    if byte ~= 44 then no_json(at, 'a comma or the end of a list') end
    at, number = skip(text, at + 1), number + 1
  end
end

function value(text, at, kind, trail, depth)
  if depth > DEPTH_MAX then error({advice = 'The request could not be read: the body is nested too deeply.'}) end
  local byte = text:byte(at)
  if byte == 34 then
    local _, past = quoted_end(text, at)
    return past
  end
  if byte == 123 then return object(text, at, kind, trail, depth) end
  if byte == 91 then return array(text, at, kind, trail, depth) end
  local _, last = text:find('^%a+', at)
  if last then
    local word = text:sub(at, last)
    if word == 'true' or word == 'false' or word == 'null' then return last + 1 end
  else
    _, last = text:find('^%-?%d[%d%.eE%+%-]*', at)
    if last then return last + 1 end
  end
  no_json(at, 'a value')
end

local function check(text, call)
  local kind = {type = bodies[call] or ''}
  local at = skip(text, 1)
  if at > #text then return end
  if text:byte(at) ~= 123 then no_json(at, 'an object') end
  at = skip(text, object(text, at, kind, {}, 1))
  if at <= #text then no_json(at, 'the end') end
end

-- What the transcoder said of a request that it could not read, in our words.
local function read(text)
  local field, kind = text:match('^([%w_%.%[%]]+): invalid value .* for type ([%w_%./]+)$')
  if field then
    field = field:gsub('%[%d+%]$', '')  -- the transcoder's index is always 0
    return field, 'must be ' .. (passes[kind] or 'of type ' .. kind)
  end
  field = text:match('^Could not find field "(.-)" in the type')
  if field then return field, 'is not a field of this request: remove it' end
  field = text:match('^: invalid value .* for type ([%w_]+)$')
  if field then return field, 'must be a single value' end
  field = text:match('^The binding value .* of the field ([%w_%.]+) is conflicting with')
  if field then return field, 'stands in the address already, with another value: say it once' end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(':path')
  if path:sub(1, 4) == '/v1/' and (headers:get('content-type') or ''):sub(1, 16) ~= 'application/grpc' then
    -- What the transcoder left as it was is no call of the contract.
    handle:respond({[':status'] = '404', ['content-type'] = 'application/json'}, ${unknown_path})
    return
  end
  local kept = handle:streamInfo():dynamicMetadata():get('perpmesh.request')
  if not kept or bodies[path] == nil then return end
  local fine, refused = pcall(check, kept.body, path)
  if fine then return end
  if type(refused) ~= 'table' then error(refused) end
  handle:respond({[':status'] = '400', ['content-type'] = 'application/json'}, refusal(refused.field, refused.advice))
end

function envoy_on_response(handle)
  if not handle:headers():get('x-perpmesh-unreadable') then return end
  handle:headers():remove('x-perpmesh-unreadable')
  local body = handle:body(true)
  local text = body:getBytes(0, math.min(body:length(), 2000))
  local field, advice = read(text)
  body:setBytes(refusal(field, advice or 'The request could not be read: ' .. text))
end
