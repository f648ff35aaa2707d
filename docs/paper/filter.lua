-- What the Markdown page says in a browser, said on paper: the first heading is the title, links to
-- other pages lead to the repository, columns share a line by what they hold, wide tables are set smaller.

local SITE = "https://github.com/langneurons/langneurons/blob/main/docs/"
local UPRIGHT, FLIPPED = 108, 175 -- characters of 8 points that fit beside each other

local function measure(rows, longest, total)
  for _, row in ipairs(rows) do
    for place, cell in ipairs(row.cells) do
      local text = pandoc.utils.stringify(cell.contents)
      total[place] = math.max(total[place] or 1, utf8.len(text))
      for word in text:gmatch("%S+") do
        longest[place] = math.max(longest[place] or 1, utf8.len(word))
      end
    end
  end
end

-- A column gets what its longest cell asks for, never less than its longest word. The table is set smaller
-- as far as cells up to an interval's length would break otherwise; longer ones may.
local function fit(tbl, room)
  local longest, total, wanted, sum, least = {}, {}, {}, 0, 0
  measure(tbl.head.rows, longest, total)
  for _, body in ipairs(tbl.bodies) do measure(body.body, longest, total) end
  for place in ipairs(tbl.colspecs) do
    local word, whole = (longest[place] or 1) + 3, (total[place] or 1) + 3
    wanted[place] = math.max(word, math.min(whole, 60))
    sum = sum + wanted[place]
    least = least + math.max(word, math.min(whole, 24))
  end
  local size = math.max(6, math.min(8, 8 * room / least))
  local share = math.min(1, size / 8 * sum / room) -- of the line
  for place, spec in ipairs(tbl.colspecs) do
    tbl.colspecs[place] = { spec[1], share * wanted[place] / sum }
  end
  return {
    pandoc.RawBlock("typst", string.format("#[#set text(size: %.2fpt)", size)),
    tbl,
    pandoc.RawBlock("typst", "]"),
  }
end

function Pandoc(doc)
  local ids, room, blocks = {}, UPRIGHT, pandoc.List()
  doc:walk({ Header = function(head) ids[head.identifier] = true end })
  for place, block in ipairs(doc.blocks) do
    if place == 1 and block.t == "Header" then
      doc.meta.title = pandoc.MetaInlines(block.content)
    elseif block.t == "Table" then
      blocks:extend(fit(block, room))
    else
      if block.t == "RawBlock" and block.text:find("flipped") then room = FLIPPED end
      blocks:insert(block)
    end
  end
  doc.blocks = blocks
  return doc:walk({ Link = function(link)
    local page, anchor = link.target:match("^([%w/-]*%.md)(#?[%w-]*)$")
    if link.target == "records.md" then
      link.target = "#appendix-the-records"
    elseif ids[(anchor or link.target):sub(2)] then
      link.target = anchor or link.target
    elseif page then
      link.target = SITE .. page .. anchor
    end
    return link
  end })
end
